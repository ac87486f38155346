"""Undo, on each computed step, what the estimates of the gap before it are seen to have missed."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from skipstone.cachers.contract.words import Reason, Solved
from skipstone.schedules.moments import Floats
from skipstone.schedules.plan import Plan
from skipstone.schedules.settling import Settlement, drift_settlement

TINY = 1e-12
"""No innovation is taken for less, in mean square."""

FRESH = frozenset(
    {
        Reason.FIRST_STEP,
        Reason.NO_SNAPSHOT,
        Reason.SHAPE_CHANGED,
        Reason.BLOCKS_CHANGED,
        Reason.NOT_UNDERSTOOD,
        Reason.IN_PART,
        Reason.CONDITION_CHANGED,
        Reason.FRAMES_CHANGED,
        Reason.GRADIENTS,
        Reason.OTHER_CACHE,
        Reason.ASKED_FOR,
    }
)
"""Why steps are computed that have nothing to do with those before."""


@dataclass
class Settling(ABC):
    """Follow one run.

    Args:
        history: how many computed outputs estimates come from.

    ``kept`` has the newest computed outputs with their steps, newest first, and ``last`` is the last step
    that was told. One that was left out was computed in part. ``settled`` counts gaps that were settled, and
    ``broken`` how often steps were left out.
    """

    history: int
    kept: deque[tuple[int, Tensor]] = field(default_factory=deque, init=False)
    last: int = field(default=-1, init=False)
    settled: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)

    @abstractmethod
    def continues(self, reason: str) -> bool:
        """Whether a step that is computed for this reason continues the steps before it."""

    @abstractmethod
    def settlement(self, solved: Solved, anchors: Sequence[int]) -> Settlement | None:
        """How a computed step settles the gap before it; None if it does not.

        Args:
            solved: the step.
            anchors: the computed steps before it, newest first.
        """

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(output.nbytes for _, output in self.kept)

    def after(self, solved: Solved) -> None:
        """Settle the gap before a step, if it was computed."""
        at, output = solved.step.index, solved.output
        goes_on = at == self.last + 1 and (solved.reason is None or self.continues(solved.reason))
        self.broken += 0 <= self.last < at - 1
        self.last = at
        if not goes_on or any(other.shape != output.shape for _, other in self.kept):
            self.kept.clear()
        if solved.reason is None:
            return
        found = self.settlement(solved, [step for step, _ in self.kept])
        if found is not None:
            self._move(solved, found)
            self.settled += 1
        # A graph overwrites its former output.
        self.kept.appendleft((at, output.detach().clone()))
        while len(self.kept) > self.history:
            self.kept.pop()

    def _move(self, solved: Solved, found: Settlement) -> None:
        innovation = solved.output.float()
        for weight, (_, earlier) in zip(found.weights, self.kept, strict=True):
            innovation = innovation.sub(earlier, alpha=weight)
        # A sparse run departs from the recorded one: where the innovation is larger than in that, the rest
        # of it is no sign of the gap's errors.
        expected = found.expected * _squares(self.kept[0][1].float())
        innovation = innovation * (expected / _squares(innovation).clamp_min(TINY)).clamp_max(1.0)
        for factor, held in zip(found.factors, solved.held, strict=True):
            held.tensor.add_(innovation.to(held.tensor.dtype), alpha=factor)


@dataclass
class PlanSettling(Settling):
    """Follow one run of a plan.

    Args:
        plan: the plan.
        model: the model.
    """

    plan: Plan
    model: str

    def continues(self, reason: str) -> bool:
        return reason == Reason.PLANNED

    def settlement(self, solved: Solved, anchors: Sequence[int]) -> Settlement | None:
        at = solved.step.index
        as_planned = list(anchors) == self.plan.anchors(self.model, at)
        return self.plan.settlement(self.model, at, _effects(solved), solved.echo) if as_planned else None


@dataclass
class DriftSettling(Settling):
    """Follow one run of a method that reuses the last computed step as it is.

    Args:
        share: how much of the expected error is undone.
        steps: of the run.
    """

    share: float
    steps: int

    def continues(self, reason: str) -> bool:
        return reason not in FRESH

    def settlement(self, solved: Solved, anchors: Sequence[int]) -> Settlement | None:
        at = solved.step.index
        if not anchors or anchors[0] == at - 1:
            return None
        return drift_settlement(_effects(solved), solved.echo, anchors[0], at, self.share)


def _effects(solved: Solved) -> list[Floats]:
    return [held.effects for held in solved.held]


def _squares(values: Tensor) -> Tensor:
    """The mean square of each sample, ``(batch, 1, ...)``."""
    return values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True)
