"""Spectrum: fit the residual's path over the run with Chebyshev polynomials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from skipstone.cachers.contract.predictor import Order, Predictor, extrapolation
from skipstone.cachers.contract.words import Step
from skipstone.declared import Share


@dataclass(frozen=True)
class Spectrum(Predictor):
    """Fit all computed residuals with Chebyshev polynomials over the run, and mix in a straight line.

    The run's steps are mapped to -1 to 1. The fit is a ridge regression. It is a weighted sum of the computed
    residuals and needs no memory beyond them.

    Use: with many computed steps, and memory for all of them.
    Source: Spectrum, arXiv:2603.01623, https://github.com/hanjq17/Spectrum.
    Difference: the straight line goes through the last two computed steps, whatever their distance.

    Args:
        degree: the highest polynomial, from 0.
        ridge: the penalty on the coefficients, above 0.
        mix: the share of the fit, 0 to 1; the rest is the straight line.
        window: how many computed residuals are fitted and held at most, from 2.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "spectrum"

    degree: Order = 4
    ridge: Annotated[float, Ge(1e-12)] = 0.1
    mix: Share = 0.5
    window: Annotated[int, Ge(2), Le(1000)] = 100

    @property
    def history(self) -> int:
        return self.window

    def time(self, step: Step) -> float:
        return 2 * step.index / step.count - 1

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        line = extrapolation(at, times[:2]) + [0.0] * (len(times) - 2)
        return [
            self.mix * fitted + (1 - self.mix) * straight
            for fitted, straight in zip(self._fit(at, times), line, strict=True)
        ]

    def _fit(self, at: float, times: Sequence[float]) -> Sequence[float]:
        known = np.polynomial.chebyshev.chebvander(np.array(times), self.degree)
        wanted = np.polynomial.chebyshev.chebvander(np.array([at]), self.degree)[0]
        gram = known.T @ known + self.ridge * np.eye(self.degree + 1)
        weights: list[float] = (known @ np.linalg.solve(gram, wanted)).tolist()
        return weights
