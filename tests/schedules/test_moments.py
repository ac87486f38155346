"""Weights and errors from second moments: exact where arithmetic says so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.schedules.moments import RIDGE, Moments, mean_moments, moments_of
from support.smooth import smooth


def error_of(moments: Moments, step: int, anchors: list[int]) -> float:
    """The relative error of the best estimate."""
    return moments.error(step, anchors, moments.weights(step, anchors))


def test_a_gram_matrix_is_the_mean_product_of_samples_scaled_to_one() -> None:
    values = np.array([[[1.0, 1.0], [30.0, 0.0]], [[3.0, 3.0], [0.0, 40.0]]])
    moments = moments_of((2, 5), values)
    # The first sample has a mean square of 5, the second one of 625.
    assert moments.steps == (2, 5)
    assert moments.gram[0, 0] == pytest.approx((1 / 5 + 450 / 625) / 2)
    assert moments.gram[0, 1] == pytest.approx((3 / 5 + 0) / 2)
    assert moments.gram[1, 1] == pytest.approx((9 / 5 + 800 / 625) / 2)
    assert np.trace(moments.gram) / 2 == pytest.approx(1)
    assert moments.scale == pytest.approx((5**0.5 + 25) / 2)
    assert moments.norms[1] == pytest.approx(moments.scale * moments.gram[1, 1] ** 0.5)


def test_what_does_not_change_is_reused_exactly() -> None:
    moments = moments_of(range(4), np.ones((4, 1, 8)))
    assert moments.weights(3, [2, 0]) == pytest.approx([1.0, 0.0], abs=1e-12)
    assert error_of(moments, 3, [2, 0]) == pytest.approx(0.0, abs=1e-9)


def test_a_straight_line_is_continued() -> None:
    start, slope = np.random.default_rng(0).standard_normal((2, 1, 4096))
    moments = moments_of(range(4), np.stack([start + 3 * n * slope for n in range(4)]))
    assert moments.weights(3, [2, 1]) == pytest.approx([2.0, -1.0], abs=0.05)
    assert moments.weights(3, [2, 0]) == pytest.approx([1.5, -0.5], abs=0.05)
    assert error_of(moments, 3, [2, 1]) < 0.1 * error_of(moments, 3, [2])


def test_a_growing_magnitude_needs_one_anchor_only() -> None:
    moments = moments_of(range(3), np.ones((3, 1, 8)) * np.array([1.0, 1.1, 1.3])[:, None, None])
    assert moments.weights(2, [0]) == pytest.approx([1.3], abs=1e-3)


@given(seed=st.integers(0, 99), anchors=st.lists(st.integers(0, 8), min_size=1, max_size=3, unique=True))
def test_the_error_is_that_of_the_weighted_sum(seed: int, anchors: list[int]) -> None:
    """Nothing but the matrix is known, and yet it is the error of the real values."""
    values, anchors = smooth(10, seed), sorted(anchors, reverse=True)
    moments = moments_of(range(10), values)
    estimate = sum(w * values[step] for w, step in zip(moments.weights(9, anchors), anchors, strict=True))
    expected = np.sqrt(((estimate - values[9]) ** 2).mean() / (values[9] ** 2).mean())
    assert error_of(moments, 9, anchors) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(seed=st.integers(0, 99), other=st.floats(-2, 2), change=st.integers(0, 1))
def test_no_other_weights_do_better_but_for_the_ridge(seed: int, other: float, change: int) -> None:
    moments = moments_of(range(6), smooth(6, seed))
    best = moments.weights(5, [3, 1])
    changed = [*best]
    changed[change] += other
    error = [cost_with_ridge(moments, weights) for weights in (best, changed)]
    assert error[0] <= error[1] + 1e-9


def cost_with_ridge(moments: Moments, weights: list[float]) -> float:
    row = np.array([*weights, -1.0])
    picked = moments.gram[np.ix_([3, 1, 5], [3, 1, 5])]
    return float(row @ picked @ row) + RIDGE * ((weights[0] - 1) ** 2 + weights[1] ** 2)


def test_resampled_to_its_own_times_it_is_itself() -> None:
    moments, times = moments_of(range(7), smooth(7)), [1.0, 0.9, 0.7, 0.5, 0.4, 0.2, 0.1]
    again = moments.resampled(times, times)
    assert again.steps == moments.steps
    assert again.gram == pytest.approx(moments.gram)


def test_resampling_runs_straight_between_recorded_values() -> None:
    values = smooth(4)
    between = np.stack([values[0], (values[1] + values[2]) / 2, 0.25 * values[2] + 0.75 * values[3]])
    moments, expected = moments_of(range(4), values), np.einsum("sbc,tbc->st", between, between) / 64
    again = moments.resampled([1.0, 0.8, 0.6, 0.2], [1.0, 0.7, 0.3])
    assert again.gram * moments.scale**2 == pytest.approx(expected)


def test_steps_outside_the_recorded_times_are_left_out() -> None:
    moments = moments_of((0, 1, 2), smooth(3))
    assert moments.resampled([0.9, 0.5, 0.3], [1.0, 0.9, 0.4, 0.1]).steps == (1, 2)


def test_a_mean_counts_as_often_as_it_is_told() -> None:
    parts = [moments_of(range(3), smooth(3, seed)) for seed in range(2)]
    mean = mean_moments(parts, [3, 1])
    assert mean.gram == pytest.approx(0.75 * parts[0].gram + 0.25 * parts[1].gram)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_what_cannot_be_scaled_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite, or zero"):
        moments_of(range(3), np.full((3, 1, 4), value))
