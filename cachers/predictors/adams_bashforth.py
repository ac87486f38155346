"""AB-Cache: the linear relation between the outputs of consecutive steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from skipstone.cachers.contract.predictor import HIGHEST, ClockedPredictor, extrapolation


@dataclass(frozen=True)
class AdamsBashforth(ClockedPredictor):
    """Combine the last ``order`` computed residuals, with an error of that order in the step size.

    Use: like `Taylor`; its order counts residuals, not derivatives.
    Source: AB-Cache, arXiv:2504.10540.
    Difference: the paper's coefficients were not available. These follow from its error bound, for the actual
    spacing of the computed steps. No other coefficients have that bound, so they equal those of
    ``Taylor(order - 1)``.

    Args:
        order: how many computed residuals are combined and held, from 1 (reuse).
        clock: ``step`` measures time by the step's index, ``sigma`` by its noise level.

    Raises:
        ValueError: an order below 1 or an unknown clock.
    """

    name: ClassVar[str] = "adams-bashforth"

    order: Annotated[int, Ge(1), Le(HIGHEST)] = 2

    @property
    def history(self) -> int:
        return self.order

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        return extrapolation(at, times)
