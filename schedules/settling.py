"""What a computed step shows of the errors of the gap before it, and how far it can undo them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skipstone.schedules.importance import LEAST_UNIT, Prediction
from skipstone.schedules.moments import Floats, Moments

SHARES = {1: 1.0, 2: 0.7}
"""How much of the expected error is undone, by how many computed steps an estimate weighs."""

MOST_DRIFT = 4.0
"""By how many times its own mean square an output drifts at most; one set to 0 by guidance has not."""


@dataclass(frozen=True)
class Settlement:
    """How a computed step settles the gap before it.

    The *innovation* is the step's output less what would have been estimated.

    Args:
        weights: of the anchors' outputs in that estimate, newest first.
        factor: how far the innovation moves the latents after the step, in units of signal plus noise.
        expected: the most of the innovation's mean square that tells of the gap, as a share of that of the
            newest anchor's output.
    """

    weights: tuple[float, ...]
    factor: float
    expected: float


def settlement(
    moments: Moments,
    anchors: Sequence[int],
    step: int,
    weigh: Callable[[int], Sequence[float]],
    effects: tuple[Floats, Floats],
    share: float,
) -> Settlement:
    """How a computed step settles the gap before it.

    The errors of the gap's estimates have moved the latents. That sum is correlated with the innovation, and
    the best guess of it is a multiple of that.

    Difference: a corrector as UniPC's (arXiv 2302.04867), with weights from a recorded run.

    Args:
        moments: of the outputs that the solver gets.
        anchors: the computed steps of the estimates, newest first.
        step: the computed step after the gap.
        weigh: the weights of the anchors, by the estimated step.
        effects: of the solver's steps, as `solver_effects` gives them.
        share: how much of the expected error is undone.
    """
    place = {known: n for n, known in enumerate(moments.steps)}

    def error(at: int) -> Floats:
        """The true output less its estimate, as a weighted sum of all outputs."""
        found = np.zeros(len(place))
        found[place[at]] = 1.0
        found[[place[anchor] for anchor in anchors]] -= weigh(at)
        return found

    kept, moved = effects
    missing = np.zeros(len(place))
    for at in range(anchors[0] + 1, step):
        missing = kept[at] * missing + moved[at] * error(at)
    innovation = error(step)
    size = float(innovation @ moments.gram @ innovation)
    shared = float(missing @ moments.gram @ innovation)
    newest = place[anchors[0]]
    return Settlement(
        weights=tuple(weigh(step)),
        factor=float(share * kept[step] * shared / size) if size > 0 else 0.0,
        expected=size / float(moments.gram[newest, newest]),
    )


def drift_settlement(
    levels: Sequence[float], prediction: Prediction, anchor: int, step: int, share: float, end: float = 0.0
) -> Settlement:
    """How a computed step settles a gap in which the output before it was reused while the true one drifted.

    Args:
        levels: of each step of the run as flow time, falling.
        prediction: what the output is.
        anchor: the computed step before the gap.
        step: the computed step after it.
        share: how much of the expected error is undone.
        end: the flow time at which the run ends.
    """
    kept, moved = solver_effects(levels, prediction, end)
    missing = 0.0
    for at in range(anchor + 1, step):
        missing = kept[at] * missing + moved[at] * (at - anchor) / (step - anchor)
    return Settlement((1.0,), float(share * kept[step] * missing), MOST_DRIFT)


def solver_effects(
    levels: Sequence[float], prediction: Prediction, end: float = 0.0
) -> tuple[Floats, Floats]:
    """What each step of a solver of first order makes of latents and of outputs, ``(steps,)`` each.

    Latents are divided by signal plus noise. A step multiplies them by the first, and adds the output times
    the second. That holds for Euler on flows, for DDIM, and for Euler on noise levels, which is DDIM.

    Args:
        levels: of each step as flow time, ``noise / (signal + noise)``, falling.
        prediction: what the output is.
        end: the flow time after the last of them.
    """
    time, after = np.array(levels), np.array([*levels[1:], end])
    signal, length = np.maximum(1 - time, LEAST_UNIT), after - time
    match prediction:
        case "flow":
            return np.ones_like(time), length
        case "v":
            size = np.hypot(1 - time, time)
            return ((1 - after) * (1 - time) + after * time) / size**2, length / size
        case "epsilon":
            return (1 - after) / signal, length / signal
        case "sample":
            noise = np.maximum(time, LEAST_UNIT)
            return after / noise, -length / noise
