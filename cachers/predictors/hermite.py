"""HiCache: extrapolate the residual with Hermite polynomials, which grow slower than powers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from skipstone.cachers.contract.predictor import Order, Predictor, divided_difference

Scale = Annotated[float, Gt(0), Le(1)]
"""The contraction of the polynomials."""


@dataclass(frozen=True)
class Hermite(Predictor):
    """Extrapolate the residual like a Taylor series, with scaled Hermite polynomials instead of powers.

    The power ``k^n`` of the distance becomes ``scale^n H_n(scale * k)``, with the physicists' polynomials. At
    order 1 this is the straight line with its slope multiplied by ``2 * scale^2``: scales below ``sqrt(1/2)``
    damp it.

    Use: where `Taylor` overshoots; the scale damps it.
    Source: HiCache, arXiv:2508.16984.
    Difference: the derivatives are divided differences over the computed steps, which equal the paper's at
    even spacing. Distances are counted in steps only, the unit that the polynomials are made for.

    Args:
        order: the highest polynomial, from 0 (reuse). ``order + 1`` residuals are held.
        scale: the contraction, above 0 and at most 1, per step.

    Raises:
        ValueError: a negative order, or a scale outside its range.
    """

    name: ClassVar[str] = "hermite"

    order: Order = 2
    scale: Scale = 0.5

    @property
    def history(self) -> int:
        return self.order + 1

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        weights = [0.0] * len(times)
        for order in range(len(times)):
            basis = self.scale**order * _hermite(order, self.scale * (at - times[0]))
            for n, difference in enumerate(divided_difference(times[: order + 1])):
                weights[n] += difference * basis
        return weights


def _hermite(order: int, x: float) -> float:
    """The physicists' Hermite polynomial ``H_order(x)``."""
    before, value = 0.0, 1.0
    for n in range(order):
        before, value = value, 2 * x * value - 2 * n * before
    return value
