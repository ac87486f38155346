"""TaylorSeer: extrapolate the residual by its derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.predictor import ClockedPredictor, Order, extrapolation


@dataclass(frozen=True)
class Taylor(ClockedPredictor):
    """Extrapolate the residual by its Taylor series at the newest computed step.

    Use: where computed steps are close together.
    Source: TaylorSeer, arXiv:2503.06923, https://github.com/Shenyi-Z/TaylorSeer.
    Difference: the derivatives are those of the polynomial through the last ``order + 1`` computed steps, so
    the series is exact on polynomials at any spacing. The original uses backward differences as derivatives:
    the same at order 1, and exact on no polynomial of degree 2 or more. It keeps every layer's output; here
    the stack's residual is kept. With fewer computed steps the order is lower.

    Args:
        order: how many derivatives, from 0 (reuse). ``order + 1`` residuals are held.
        clock: ``step`` measures time by the step's index, ``sigma`` by its noise level.

    Raises:
        ValueError: a negative order or an unknown clock.
    """

    name: ClassVar[str] = "taylor"

    order: Order = 1

    @property
    def history(self) -> int:
        return self.order + 1

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        return extrapolation(at, times)
