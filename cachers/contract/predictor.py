"""The contract of a predictor: how to weigh the residuals of computed steps into an estimate."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import ClassVar, Literal

from skipstone.cachers.contract.words import Step, Weights, short

Clock = Literal["step", "sigma"]
"""What a predictor takes for time: the step's index, or its noise level."""


@dataclass(frozen=True)
class Predictor(ABC):
    """Estimates a skipped step's residual as a weighted sum of computed ones.

    It is frozen hyper-parameters and no state: the weights follow from when the kept steps were computed.
    It goes with any gate: ``WithPredictor(gate, predictor)``.
    """

    name: ClassVar[str]
    """The predictor's name on the command line and in `skipstone.attach`."""

    @property
    @abstractmethod
    def history(self) -> int:
        """How many computed residuals it uses at most."""

    @abstractmethod
    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        """The weights of values known at some times, for the value at another.

        Args:
            at: the time to estimate.
            times: distinct, newest first: at least one, at most `history`.
        """

    def time(self, step: Step) -> float:
        """When a step takes place: by default its index in the run."""
        return float(step.index)

    def weights(self, step: Step, computed: Sequence[Step]) -> Weights:
        """How the kept residuals are summed up: by `all_weights`, or with others in each band.

        Args:
            step: the step to estimate.
            computed: the steps of the kept residuals, newest first.
        """
        return self.all_weights(step, computed)

    def all_weights(self, step: Step, computed: Sequence[Step]) -> Sequence[float]:
        """One weight for each kept residual, newest first; of two at the same time the newer one counts.

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
    """A predictor that can go by the noise level as well as by the step.

    Args:
        clock: ``step`` takes the step's index for time, ``sigma`` its noise level.
    """

    clock: Clock = field(default="step", kw_only=True)

    def __post_init__(self) -> None:
        if self.clock not in ("step", "sigma"):
            raise ValueError(f"clock must be 'step' or 'sigma', got {self.clock!r}")

    def time(self, step: Step) -> float:
        if self.clock == "step":
            return super().time(step)
        if step.sigma is None:
            raise ValueError("clock='sigma', but this scheduler has no sigmas; use clock='step'")
        return step.sigma


def checked_order(order: int, least: int) -> int:
    """The order, if it is one.

    Raises:
        ValueError: it is too small.
    """
    if order < least:
        raise ValueError(f"order must be a whole number >= {least}, got {order}")
    return order


def extrapolation(at: float, times: Sequence[float]) -> list[float]:
    """The weights by which the polynomial through all values gives the value at another time."""
    return [prod((at - other) / (time - other) for other in times if other != time) for time in times]


def divided_difference(times: Sequence[float]) -> list[float]:
    """Newton's divided difference over all of some distinct times, as weights of the values.

    Over ``n + 1`` times that are ``h`` apart it is the backward difference of order ``n`` over ``n! h^n``.
    """
    return [1 / prod(time - other for other in times if other != time) for time in times]
