"""The contract of a predictor: how an estimate weighs the residuals of computed steps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from skipstone.cachers.contract.words import Step, Weights, short
from skipstone.declared import Declared

Clock = Literal["step", "sigma"]
"""How a predictor measures time: by the step's index, or by its noise level."""

HIGHEST = 20
"""The highest order: beyond it, the weights are so large that nothing but rounding is left."""

Order = Annotated[int, Ge(0), Le(HIGHEST)]
"""The order of a polynomial."""


@dataclass(frozen=True)
class Predictor(Declared, ABC):
    """Estimate a skipped step's residual as a weighted sum of computed ones.

    It has frozen hyper-parameters and no state: the weights depend only on the times of the kept steps. It
    can be added to any method: ``WithPredictor(method, predictor)``.
    """

    name: ClassVar[str]
    """The predictor's name on the command line and in `skipstone.attach`."""

    @property
    @abstractmethod
    def history(self) -> int:
        """The most computed residuals that it uses."""

    @abstractmethod
    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        """The weights of the values at some times, to estimate the value at another time.

        Args:
            at: the time to estimate.
            times: distinct times, newest first; at least one, at most `history`.
        """

    def time(self, step: Step) -> float:
        """The time of a step; by default its index in the run."""
        return float(step.index)

    def weights(self, step: Step, computed: Sequence[Step]) -> Weights:
        """The weights of the kept residuals: `all_weights`, or different weights for each frequency band.

        Args:
            step: the step to estimate.
            computed: the steps of the kept residuals, newest first.
        """
        return self.all_weights(step, computed)

    def all_weights(self, step: Step, computed: Sequence[Step]) -> Sequence[float]:
        """One weight for each kept residual, newest first; of two at the same time, only the newer one
        counts.

        Args:
            step: the step to estimate.
            computed: the steps of the kept residuals, newest first.
        """
        times = [self.time(known) for known in computed]
        used = [n for n, time in enumerate(times) if time not in times[:n]]
        found = dict(zip(used, self.combine(self.time(step), [times[n] for n in used]), strict=True))
        return [found.get(n, 0.0) for n in range(len(times))]

    def describe(self) -> str:
        """The predictor and its hyper-parameters in one line."""
        settings = ", ".join(f"{f.name} {short(getattr(self, f.name))}" for f in fields(self))
        return f"{self.name} {settings}".strip()


@dataclass(frozen=True)
class ClockedPredictor(Predictor):
    """A predictor that can measure time by the noise level or by the step.

    Args:
        clock: ``step`` measures time by the step's index, ``sigma`` by its noise level.
    """

    clock: Clock = field(default="step", kw_only=True)

    def time(self, step: Step) -> float:
        if self.clock == "step":
            return super().time(step)
        if step.sigma is None:
            raise ValueError("clock='sigma', but this scheduler has no sigmas; use clock='step'")
        return step.sigma


def extrapolation(at: float, times: Sequence[float]) -> list[float]:
    """The weights for evaluating the polynomial through all values at another time."""
    return [prod((at - other) / (time - other) for other in times if other != time) for time in times]


def divided_difference(times: Sequence[float]) -> list[float]:
    """Newton's divided difference over distinct times, as weights of the values.

    Over ``n + 1`` times with spacing ``h`` it is the backward difference of order ``n``, divided by ``n!
    h^n``.
    """
    return [1 / prod(time - other for other in times if other != time) for time in times]
