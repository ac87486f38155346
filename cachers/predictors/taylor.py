"""TaylorSeer: continue the residual by its derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.predictor import ClockedPredictor, checked_order, extrapolation


@dataclass(frozen=True)
class Taylor(ClockedPredictor):
    """Continue the residual by its Taylor series at the newest computed step.

    Use: where computed steps lie close together.
    Source: TaylorSeer, arXiv:2503.06923, https://github.com/Shenyi-Z/TaylorSeer.
    Difference: the derivatives are those of the polynomial through the last ``order + 1`` computed steps, so
    the series ends there and is exact on polynomials, however the steps are spaced. The original takes
    backward differences for derivatives: the same for order 1, and from order 2 on exact on nothing. It keeps
    every layer's output; here it is the residual of the stack. Fewer computed steps lower the order.

    Args:
        order: how many derivatives, from 0 (reuse). ``order + 1`` residuals are held.
        clock: ``step`` takes the step's index for time, ``sigma`` its noise level.

    Raises:
        ValueError: a negative order or an unknown clock.
    """

    name: ClassVar[str] = "taylor"

    order: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_order(self.order, least=0)

    @property
    def history(self) -> int:
        return self.order + 1

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        return extrapolation(at, times)
