"""A change against a threshold."""

import math

from skipstone.cachers.contract.words import Reason


class Changed(str):
    """`Reason.CHANGED` with the change, so that a run without a skip can name a threshold that skips.

    Args:
        change: in the unit of the method's threshold.
    """

    change: float

    def __new__(cls, change: float) -> "Changed":
        """A string that reads as the reason does."""
        reason = super().__new__(cls, Reason.CHANGED.value)
        reason.change = change
        return reason


def reached(change: float, threshold: float) -> str | None:
    """Skip below the threshold: None, or why to compute.

    Args:
        change: how much something has changed; what is not finite is computed.
        threshold: the change at which to compute.
    """
    if not math.isfinite(change):
        return Reason.NOT_FINITE
    return None if change < threshold else Changed(change)
