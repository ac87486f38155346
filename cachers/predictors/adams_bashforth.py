"""AB-Cache: the linear relation between the outputs of consecutive steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.predictor import ClockedPredictor, checked_order, extrapolation


@dataclass(frozen=True)
class AdamsBashforth(ClockedPredictor):
    """Combine the last ``order`` computed residuals so that the error shrinks with that power of the step.

    Use: as Taylor, with the order counted in residuals.
    Source: AB-Cache, arXiv:2504.10540.
    Difference: the paper's coefficients were not at hand; these are worked out from its error bound for the
    spacing of the computed steps. They are the only ones with that bound, hence those of
    ``Taylor(order - 1)``.

    Args:
        order: how many computed residuals are combined, from 1 (reuse); all of them are held.
        clock: ``step`` takes the step's index for time, ``sigma`` its noise level.

    Raises:
        ValueError: an order below 1 or an unknown clock.
    """

    name: ClassVar[str] = "adams-bashforth"

    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_order(self.order, least=1)

    @property
    def history(self) -> int:
        return self.order

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        return extrapolation(at, times)
