"""How much of what is recorded at half precision is rounding: it says next to nothing of the picture."""

import numpy as np

from skipstone.schedules.moments import Floats

EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""The distance from 1 to the next number."""

MOST = 8
"""The largest root mean square of rounding, in epsilons of the quantity; guidance multiplies it."""

ORDERS = (2, 3, 4, 5, 6)
"""Of the differences from step to step that rounding is told by."""


def rounding(gram: Floats, dtype: str | None) -> Floats:
    """The mean square of the rounding in a quantity on each step, ``(n,)``; zero in other precisions.

    Rounding is another one on each step, and what a model computes changes smoothly. So differences of a high
    order hold all of the rounding and little else. The least of several orders is taken, and on no step a
    larger share of the quantity than on half of the steps: the first ones change faster. On fewer steps than
    the highest order needs, much of a difference is what the model computes, so no rounding is told there.

    Args:
        gram: mean products of the quantity on any two of ``n`` steps, ``(n, n)``.
        dtype: name of the precision in which the model ran; None if it is not known.
    """
    squares = np.asarray(gram.diagonal())
    if dtype not in EPSILON or len(gram) <= max(ORDERS):
        return np.zeros_like(squares)
    shares = np.maximum(np.min([_differences(gram, order) for order in ORDERS], axis=0), 0.0) / squares
    most = min(float(np.median(shares)), (MOST * EPSILON[dtype]) ** 2)
    return np.asarray(squares * np.minimum(shares, most))


def _differences(gram: Floats, order: int) -> Floats:
    """The least mean square of the differences in which each step is, as rounding of one step; ``(n,)``."""
    taken = np.diff(np.eye(len(gram)), order, axis=0)
    squares = np.einsum("di,ij,dj->d", taken, gram, taken) / (taken**2).sum(axis=1)
    padded = np.pad(squares, order, constant_values=np.inf)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, order + 1).min(axis=1))
