"""What a computed step shows of the errors of the gap before it, and how far it can undo them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skipstone.schedules.moments import Floats, Moments

SHARES = {1: 1.0, 2: 0.7}
"""How much of the expected error is undone, by how many computed steps an estimate weighs."""

MOST_DRIFT = 4.0
"""By how many times its own mean square an output drifts at most; one set to 0 by guidance has not."""

LEAST_SEEN = 0.5
"""Of a drift, echoes are taken to leave so much of it to be seen at least."""


@dataclass(frozen=True)
class Settlement:
    """How a computed step settles the gap before it.

    The *innovation* is the step's output less what would have been estimated.

    Args:
        weights: of the anchors' outputs in that estimate, newest first.
        factors: how far the innovation moves each of what the solver goes on from.
        expected: the most of the innovation's mean square that tells of the gap, as a share of that of the
            newest anchor's output.
    """

    weights: tuple[float, ...]
    factors: tuple[float, ...]
    expected: float


def settlement(
    moments: Moments,
    anchors: Sequence[int],
    step: int,
    weigh: Callable[[int], Sequence[float]],
    effects: Sequence[Floats],
    echo: Floats,
    share: float,
) -> Settlement:
    """How a computed step settles the gap before it.

    The errors of the gap's estimates have moved the latents. That sum is correlated with the innovation, and
    the best guess of it is a multiple of that. The step's output answers to moved latents, so the innovation
    that is seen has an echo of these errors.

    Difference: a corrector as UniPC's (arXiv 2302.04867), with weights from a recorded run.

    Args:
        moments: of the outputs that the solver gets.
        anchors: the computed steps of the estimates, newest first.
        step: the computed step after the gap.
        weigh: the weights of the anchors, by the estimated step.
        effects: how much of each step's output is in each thing that the solver goes on from, ``(steps,)``.
        echo: how much of it is in the step's own output, through the latents, ``(steps,)``.
        share: how much of the expected error is undone.
    """
    place = {known: n for n, known in enumerate(moments.steps)}

    def error(at: int) -> Floats:
        """The true output less its estimate, as a weighted sum of all outputs."""
        found = np.zeros(len(place))
        found[place[at]] = 1.0
        found[[place[anchor] for anchor in anchors]] -= weigh(at)
        return found

    gap = range(anchors[0] + 1, step)
    missed = np.array([error(at) for at in gap]).reshape(len(gap), len(place))
    innovation = error(step) - echo[list(gap)] @ missed
    seen = moments.gram @ innovation
    size = float(innovation @ seen)
    told = missed @ seen / size if size > 0 else np.zeros(len(gap))
    newest = place[anchors[0]]
    return Settlement(
        weights=tuple(weigh(step)),
        factors=tuple(float(share * (one[list(gap)] @ told)) for one in effects),
        expected=size / float(moments.gram[newest, newest]),
    )


def drift_settlement(
    effects: Sequence[Floats], echo: Floats, anchor: int, step: int, share: float
) -> Settlement:
    """How a computed step settles a gap in which the output before it was reused while the true one drifted.

    Args:
        effects: as of `settlement`.
        echo: the same.
        anchor: the computed step before the gap.
        step: the computed step after it.
        share: how much of the expected error is undone.
    """
    gap = np.arange(anchor + 1, step)
    missed = (gap - anchor) / (step - anchor)
    told = missed / max(1 - float(echo[gap] @ missed), LEAST_SEEN)
    return Settlement((1.0,), tuple(float(share * (one[gap] @ told)) for one in effects), MOST_DRIFT)
