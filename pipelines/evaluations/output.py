"""Estimate the output of a part of a model: the whole output, or the deep branch of a UNet."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, zeros_like

from skipstone.cachers.contract.words import Outcome
from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.memory.snapshots import Residual
from skipstone.pipelines.model.outputs import floats_in, hollow, refilled
from skipstone.pipelines.model.trace import Place

StateT = TypeVar("StateT")

MODEL: Place = (-1, 0)
"""The place that stands for the model itself."""


class OutputEvaluation(Evaluation[StateT]):
    """Stand in for a whole model, and combine its kept outputs."""

    def begin(self) -> Any:
        self._decide_early()
        return self._estimate(MODEL) if self.skipped else None

    def finish(self, output: Any, latents: Tensor | None) -> None:
        if not self.skipped:
            self.branch.hollows[MODEL] = hollow(output)
            self._keep(output, latents)

    def _keep(self, output: Any, latents: Tensor | None) -> None:
        # Clones, because the model may write into its outputs.
        value: Residual = {position: t.detach().clone() for position, t in enumerate(floats_in(output))}
        self.branch.snapshots.push(self.now.step, [value])
        self._tell(Outcome(output=latents, branch=self.branch.name))

    def _estimate(self, place: Place) -> Any:
        template, weights = self.branch.hollows[place], self.weights
        estimates = [
            self.branch.snapshots.estimate(0, position, zeros_like(zero), weights)
            for position, zero in enumerate(floats_in(template))
        ]
        return refilled(template, estimates)


class DeepEvaluation(OutputEvaluation[StateT]):
    """Stand in for the parts of a UNet's deep branch; only the last one's output is used."""

    def _set_up(self) -> None:
        self._last: tuple[Place, Any] | None = None

    def begin(self) -> Any:
        self._decide_early()
        if self.skipped:
            place = next(reversed(self.branch.hollows))
            self._last = place, self._estimate(place)

    def prepare(self, run: Callable[[], Any]) -> bool:
        return bool(self.branch.hollows)

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        if self.skipped and self._last is not None:
            last, estimate = self._last
            return estimate if place == last else self._filler(place)
        output = block(*args, **kwargs)
        if place not in self.branch.hollows:
            self.branch.hollows[place] = hollow(output)
        self._last = place, output
        return output

    def finish(self, output: Any, latents: Tensor | None) -> None:
        if self._last is not None and not self.skipped:
            self._keep(self._last[1], latents)

    def _filler(self, place: Place) -> Any:
        """A tensor of the right shape that is never read."""
        template = self.branch.hollows[place]
        return refilled(template, map(zeros_like, floats_in(template)))
