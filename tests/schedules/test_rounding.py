"""Rounding is told from what a model computes, and no quality is lost to it."""

from dataclasses import replace

import numpy as np
import pytest

from skipstone.schedules.expectation import estimated_psnr
from skipstone.schedules.moments import Floats, moments_of
from skipstone.schedules.profile import Profile, Quantity
from skipstone.schedules.rounding import EPSILON, MOST, rounding
from support.smooth import smooth

STRIP = "#...." * 10


def rounded(share: float, steps: int = 50) -> Floats:
    """Smooth values of about the same size on all steps, and noise of a share of it."""
    values = smooth(steps, coordinates=4096)
    noise = np.random.default_rng(1).standard_normal(values.shape)
    return values + share * float(np.sqrt((values**2).mean())) * noise


def gram_of(values: Floats) -> Floats:
    return moments_of(range(len(values)), values).gram


def profile(values: Floats, dtype: str) -> Profile:
    moments = moments_of(range(len(values)), values)
    names = (Quantity("transformer", "branch 0", name) for name in ("residual", "output"))
    levels = tuple(np.linspace(1, 0.02, len(values)))
    return Profile({"dtype": dtype}, levels, dict.fromkeys(names, moments))


@pytest.mark.parametrize("share", [0.003, 0.01, 0.03])
def test_the_noise_of_each_step_is_found(share: float) -> None:
    """On no step more than there is; the least of several differences is some way below it."""
    found = np.sqrt(rounding(gram_of(rounded(share)), "bfloat16"))
    assert found.max() < 1.1 * share
    assert found.mean() == pytest.approx(share, rel=0.25)


def test_what_changes_smoothly_is_not_taken_for_rounding() -> None:
    assert np.sqrt(rounding(gram_of(smooth(50)), "bfloat16")).max() < 1e-4


def test_no_more_is_taken_for_rounding_than_the_precision_can_make() -> None:
    """With values that have nothing to do with each other, too."""
    for dtype, epsilon in EPSILON.items():
        found = np.sqrt(rounding(np.eye(50), dtype))
        assert found == pytest.approx(MOST * epsilon)


def test_there_is_none_in_full_precision() -> None:
    assert not rounding(gram_of(rounded(0.01)), "float32").any()


@pytest.mark.parametrize("steps", range(2, 10))
def test_a_few_steps_of_smooth_values_promise_no_more_in_half_precision(steps: int) -> None:
    """Their differences of low orders hold how the values turn, too: not all of it is rounding."""
    strip = "#." * 5
    full, half = (profile(smooth(10)[:steps], dtype) for dtype in ("float32", "bfloat16"))
    assert estimated_psnr(half, strip[:steps]) == pytest.approx(estimated_psnr(full, strip[:steps]), abs=0.1)


def test_the_same_quality_is_expected_in_half_precision() -> None:
    """Where rounding counted as error, it would be over a dB less."""
    exact, half = (profile(rounded(share), "bfloat16") for share in (0.0, 0.03))
    counted = replace(half, made_for={"dtype": "float32"})
    assert estimated_psnr(half, STRIP) == pytest.approx(estimated_psnr(exact, STRIP), abs=0.3)
    assert (estimated_psnr(counted, STRIP) or 0.0) < (estimated_psnr(exact, STRIP) or 0.0) - 1.0
