"""FoCa: forecast by a backward differentiation formula, then calibrate by Heun's rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from skipstone.cachers.contract.predictor import ClockedPredictor


@dataclass(frozen=True)
class FoCa(ClockedPredictor):
    """Forecast the residual along its slope, then correct it with the mean of the slopes at both ends.

    The slope at the newest computed step comes from the last three computed steps (BDF2), and the forecast
    follows it. A second slope is taken at the forecast. The mean of both (Heun) leads from the newest
    computed step to the estimate.

    Use: where Taylor of order 1 overshoots.
    Source: FoCa, arXiv:2508.16211.
    Difference: the paper's formulas were not available. This is the combination that it names, for the actual
    spacing of the computed steps. It starts from computed steps only; estimates are never fed back. It is
    exact on straight lines.

    Args:
        clock: ``step`` measures time by the step's index, ``sigma`` by its noise level.

    Raises:
        ValueError: an unknown clock.
    """

    name: ClassVar[str] = "foca"
    history = 3

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        if len(times) == 1:
            return [1.0]
        distance = at - times[0]
        slope = _slope(times)
        forecast = [float(n == 0) + distance * weight for n, weight in enumerate(slope)]
        of_forecast, *of_known = _slope([at, *times[:2]])
        of_known += [0.0] * (len(times) - len(of_known))
        slope_there = [known + of_forecast * f for known, f in zip(of_known, forecast, strict=True)]
        return [
            float(n == 0) + distance / 2 * (here + there)
            for n, (here, there) in enumerate(zip(slope, slope_there, strict=True))
        ]


def _slope(times: Sequence[float]) -> list[float]:
    """The weights of the slope at the first time, of the straight line or parabola through all values."""
    newest, *older = times
    weights = [sum(1 / (newest - time) for time in older)]
    for time in older:
        ratios = ((newest - other) / (time - other) for other in older if other != time)
        weights.append(prod(ratios) / (time - newest))
    return weights
