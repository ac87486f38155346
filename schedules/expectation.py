"""The speed and, roughly, the quality to expect of a plan, from its record alone."""

import math

import numpy as np

from skipstone.schedules.best_steps import cost
from skipstone.schedules.importance import step_weights
from skipstone.schedules.moments import Floats, Moments
from skipstone.schedules.profile import GUIDED, OUTPUT, Profile
from skipstone.schedules.rounding import rounding

AT_ONE, SLOPE = 7.1, 1.13
"""The PSNR in dB where the latents' squared error is 1, and how fast it falls with that error in dB.

Fitted to plans of the proving models; for a model that was left out the standard deviation is 5 dB
(benchmarks/proving/expectation.py).
"""

SEEN = ((35.0, "hard to tell apart"), (30.0, "small differences"), (25.0, "the same scene, other details"))
"""What people see from which PSNR in dB on."""

SAFE, POOR = SEEN[0][0], SEEN[-1][0]
"""From the one on, a skip hardly shows; below the other, the picture is another one."""


def seen_at(psnr: float) -> str:
    """What people see at a PSNR in dB."""
    return next((words for least, words in SEEN if psnr >= least), "another picture")


def estimated_psnr(record: Profile, strip: str) -> float | None:
    """The PSNR in dB to expect of a run on average over prompts; None if the outputs were not recorded.

    Args:
        record: what is known of the model.
        strip: ``#`` for each computed step, ``.`` for each skipped one.
    """
    squared = latent_error(record, strip)
    if squared is None:
        return None
    return math.inf if squared <= 0 else AT_ONE - SLOPE * 10 * math.log10(squared)


def expected_speedup(record: Profile, computed: int) -> float:
    """The speedup of a run that computes this many of the recorded steps."""
    return record.steps / (computed + (record.steps - computed) * record.skip_cost)


def latent_error(record: Profile, strip: str) -> float | None:
    """The squared error of the latents to expect, early errors counted for more; None if unknown.

    Rounding is left out: every run has its own.

    Args:
        record: what is known of the model.
        strip: ``#`` for each computed step, ``.`` for each skipped one.
    """
    weights = step_weights(record.levels, record.made_for.get("prediction", "flow"))
    errors = [_error(record, model, strip, weights) for model in record.models]
    known = [error for error in errors if error is not None]
    return sum(known) if len(known) == len(errors) else None


def _error(record: Profile, model: str, strip: str, weights: Floats) -> float | None:
    """What a model's estimated outputs add to it."""
    output = record.matrix(model, f"{GUIDED} {OUTPUT}") or record.matrix(model, OUTPUT)
    if output is None:
        return None
    computed = [at for at, step in enumerate(output.steps) if strip[step] == "#"]
    exact = output.gram - np.diag(rounding(output.gram, record.made_for.get("dtype")))
    return cost(Moments(output.steps, exact), computed, weights[list(output.steps)]) * output.scale**2
