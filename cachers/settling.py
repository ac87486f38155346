"""Undo, on each computed step, what the estimates of the gap before it are seen to have missed."""

from collections import deque
from dataclasses import dataclass, field

from torch import Tensor

from skipstone.cachers.contract.words import Reason, Solved
from skipstone.schedules.plan import Plan
from skipstone.schedules.settling import Settlement

TINY = 1e-12
"""No innovation is taken for less, in mean square."""


@dataclass
class Settling:
    """Follow one run of a plan.

    Args:
        plan: the plan.
        model: the model.

    ``kept`` has the newest computed outputs with their steps, newest first, and ``last`` is the last step
    that was told. One that was left out was computed in part, by other anchors than the plan's.
    """

    plan: Plan
    model: str
    kept: deque[tuple[int, Tensor]] = field(default_factory=deque)
    last: int = -1

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(output.nbytes for _, output in self.kept)

    def after(self, solved: Solved) -> None:
        """Settle the gap before a step, if its estimates came from the steps that the plan says."""
        if not self.plan.recipe.settles:
            return
        at, output = solved.step.index, solved.output
        as_planned = at == self.last + 1 and solved.reason in (None, Reason.PLANNED)
        self.last = at
        if not as_planned or any(other.shape != output.shape for _, other in self.kept):
            self.kept.clear()
        if solved.reason is None:
            return
        known = [step for step, _ in self.kept]
        found = self.plan.settlement(self.model, at) if known == self.plan.anchors(self.model, at) else None
        if found is not None:
            self._move(solved, found)
        # A graph overwrites its former output.
        self.kept.appendleft((at, output.detach().clone()))
        while len(self.kept) > self.plan.recipe.anchors:
            self.kept.pop()

    def _move(self, solved: Solved, found: Settlement) -> None:
        innovation = solved.output.float()
        for weight, (_, earlier) in zip(found.weights, self.kept, strict=True):
            innovation = innovation.sub(earlier, alpha=weight)
        # A sparse run departs from the recorded one: where the innovation is larger than in that, the rest of
        # it is no sign of the gap's errors.
        expected = found.expected * _squares(self.kept[0][1].float())
        share = (expected / _squares(innovation).clamp_min(TINY)).clamp_max(1.0)
        solved.latents.add_((innovation * share).to(solved.latents.dtype), alpha=found.factor * solved.unit)


def _squares(values: Tensor) -> Tensor:
    """The mean square of each sample, ``(batch, 1, ...)``."""
    return values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True)
