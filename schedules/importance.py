"""What a squared error of each step's output counts for the picture, from the noise levels alone."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from skipstone.schedules.moments import Floats

Prediction = Literal["flow", "v", "epsilon", "sample"]
"""What a model's output is to the scheduler."""

LEAST_SIGNAL = 0.06
"""Added to the share of signal: the first steps do not count without bounds.

Where the share is below, predicted noise counts less for the choice of steps: what goes wrong there is mostly
not about the picture, and later steps remove it.
"""

LEAST_UNIT = 1e-3
"""No output is taken for larger than the inverse of this, where next to nothing of it is in the latents."""


def step_importance(levels: Sequence[float], prediction: Prediction, power: int = 2) -> Floats:
    """`step_weights` for the choice of steps, scaled to 1 on average.

    Predicted noise counts less where the latents hold next to no signal.
    """
    counts = step_weights(levels, prediction, power)
    if prediction == "epsilon":
        signal = 1 - np.array(levels)
        counts = counts * np.minimum(signal / LEAST_SIGNAL, 1.0) ** power
    return np.asarray(counts / counts.mean(), dtype=np.float64)


def step_weights(levels: Sequence[float], prediction: Prediction, power: int = 2) -> Floats:
    """What a squared error of the output counts at each step, in squared errors of the latents.

    An error of the output moves the latents by the step's length in flow time, in the unit of the output, and
    stays there. Early errors decide more: a squared error is divided by the share of signal.

    Args:
        levels: of each step as flow time, ``noise / (signal + noise)``, falling.
        prediction: what the output is.
        power: of a step's length; 2 as above, 1 for models that repair the errors of long steps.
    """
    time, lengths = np.array(levels), -np.diff([*levels, 0.0])
    # Second evaluations of a step stay on its level, and would be skipped whatever they cost.
    lengths = np.where(lengths > 0, lengths, lengths.mean())
    unit = np.maximum(_unit(time, prediction), LEAST_UNIT)
    counts: Floats = (lengths / unit) ** power / (1 - time + LEAST_SIGNAL)
    return counts


def _unit(time: Floats, prediction: Prediction) -> Floats:
    """How much of a step's length in flow time a unit of output is worth, inverted."""
    match prediction:
        case "flow":
            return np.ones_like(time)
        case "v":
            return np.hypot(1 - time, time)
        case "epsilon":
            return 1 - time
        case "sample":
            return time
