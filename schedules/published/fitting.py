"""Fit TeaCache's polynomial to the measured changes of a model."""

from collections.abc import Sequence

import numpy as np

from skipstone.schedules.published.polynomials import Indicator, Polynomial

DEGREE = 4
"""The degree of the published polynomials."""

MEANINGFUL = 0.5
"""The least R^2 of a meaningful fit."""

THRESHOLD = 0.06
"""With this threshold both bundled models keep 30 dB on average (docs/make/defaults.py)."""


def fitted(seen: Sequence[tuple[float, float]], indicator: Indicator) -> tuple[Polynomial, float]:
    """Fit the polynomial from the indicator's change to the output's change; return it with its R^2.

    Source: TeaCache, arXiv:2411.19108, section 3.3.
    Difference: a fit that explains less than half of the output's variance is refused.

    Args:
        seen: the relative changes of indicator and output, one pair for each step.
        indicator: the probe whose changes come first in each pair.

    Raises:
        ValueError: there are too few changes, some are not finite, or the fit is meaningless.
    """
    changes, outputs = np.array(seen, dtype=float).reshape(-1, 2).T
    if not (np.isfinite(changes).all() and np.isfinite(outputs).all()):
        raise ValueError("the model's changes are not finite: a run went wrong, or its indicator is zero")
    if len(np.unique(changes)) < 2 * (DEGREE + 1):
        raise ValueError(
            f"{len(np.unique(changes))} different changes are too few to fit a polynomial of degree {DEGREE} "
            f"to; give more prompts or more steps, for at least {2 * (DEGREE + 1)}"
        )
    coefficients = np.polyfit(changes, outputs, DEGREE)
    quality = _r_squared(outputs, np.polyval(coefficients, changes))
    if not quality >= MEANINGFUL:
        raise ValueError(
            f"the fit's R^2 is {quality:.3f}: the {indicator} tells too little about the output (at least "
            f"{MEANINGFUL} is needed); try another indicator, more prompts, or a method without a fit, such "
            "as first-block"
        )
    name = f"fitted on {len(seen)} steps"
    return Polynomial(name, tuple(float(c) for c in coefficients), indicator, threshold=THRESHOLD), quality


def _r_squared(values: np.ndarray, estimates: np.ndarray) -> float:
    """The share of the values' variance that the estimates explain."""
    total = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - estimates) ** 2).sum()) / total if total > 0 else float("nan")
