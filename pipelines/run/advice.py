"""Why a run skipped less than its method asked for, and what to try next."""

import math
from collections.abc import Iterable, Sequence

from skipstone.cachers.contract.threshold import Changed
from skipstone.cachers.contract.words import Reason

FEW_STEPS = 8
"""The steps of such a short run are so far apart that methods skip almost none."""

BY_POSITION = {
    str(reason)
    for reason in (Reason.FIRST_STEP, Reason.LAST_STEP, Reason.WARM_UP, Reason.TAIL, Reason.NO_SNAPSHOT)
}
"""Reasons that do not depend on how similar the steps are."""

UNASKED = {
    str(reason)
    for reason in (
        Reason.NOT_FINITE, Reason.NO_PROBE, Reason.SHAPE_CHANGED, Reason.BLOCKS_CHANGED,
        Reason.NOT_UNDERSTOOD, Reason.OTHER_RANK, Reason.CONDITION_CHANGED, Reason.GRADIENTS,
        Reason.OTHER_CACHE, Reason.ASKED_FOR, Reason.FRAMES_CHANGED,
    )
}  # fmt: skip
"""Reasons that are not a method's own choice."""


def unasked(reasons: dict[str, int]) -> dict[str, int]:
    """The reasons, with their counts, for which more was computed than the method asked for."""
    return {reason: count for reason, count in reasons.items() if reason in UNASKED}


def advice(reasons: Sequence[str], steps: int) -> str | None:
    """What to try after a whole run that skipped nothing; None if that is not known.

    Args:
        reasons: why each evaluation was computed.
        steps: how many steps the run took.
    """
    early = BY_POSITION | ({str(Reason.CHANGED)} if steps <= FEW_STEPS else set())
    if all(str(reason) in early for reason in reasons):
        return f"{steps} steps leave too few that could be skipped: take more steps"
    changes = [reason.change for reason in reasons if isinstance(reason, Changed)]
    if changes:
        return f"the smallest change was {min(changes):.2g}: try threshold={above(_lower_third(changes)):g}"
    return None


def above(value: float) -> float:
    """The next larger number of two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 0.01
    return round((math.floor(value / unit) + 1) * unit, 12)


def _lower_third(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 3]
