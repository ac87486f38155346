"""The planner against exhaustive search of its own cost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone.schedules.best_steps import COHERENCE, MOST_STEPS, best_choices, cost, share_budget
from skipstone.schedules.moments import Moments, Weigh, least_squares, moments_of, plain_reuse
from support.smooth import smooth


def noisy(steps: int, seed: int) -> Moments:
    """A smooth quantity with some noise, so that no two choices cost the same."""
    noise = np.random.default_rng(seed).standard_normal((steps, 1, 64))
    return moments_of(range(steps), smooth(steps, seed) + 0.05 * noise)


@settings(max_examples=12)
@given(steps=st.integers(1, 9), seed=st.integers(0, 999), weigh=st.sampled_from([least_squares, plain_reuse]))
def test_every_budget_is_planned_as_well_as_by_trying_all_choices(
    steps: int, seed: int, weigh: Weigh
) -> None:
    check_against_all_choices(steps, seed, weigh)


def test_twelve_steps_are_planned_as_well_as_by_trying_all_choices() -> None:
    check_against_all_choices(12, 0, least_squares)


def check_against_all_choices(steps: int, seed: int, weigh: Weigh) -> None:
    moments, importance = noisy(steps, seed), np.random.default_rng(seed).uniform(0.2, 3, steps)
    costs = {
        choice: cost(moments, choice, importance, weigh)
        for rest in itertools.product((False, True), repeat=steps - 1)
        for choice in [(0, *(n for n, computed in enumerate(rest, start=1) if computed))]
    }
    choices = best_choices(moments, importance, steps, weigh)
    assert len(choices) == steps
    for computed, (found, positions) in enumerate(choices, start=1):
        best = min(price for choice, price in costs.items() if len(choice) == computed)
        assert len(positions) == computed
        assert found == pytest.approx(best, abs=1e-9)
        assert costs[positions] == pytest.approx(best, abs=1e-9)


def test_a_gap_of_plain_reuse_costs_what_its_errors_add_up_to() -> None:
    """Values 1, 2, 4 of one coordinate, of which the first is computed: the errors 1 and 3 add up to 4."""
    values = np.array([1.0, 2.0, 4.0])
    moments = Moments((0, 1, 2), np.outer(values, values))
    assert cost(moments, [0], np.ones(3), plain_reuse) == COHERENCE * 4**2 + (1 - COHERENCE) * (1**2 + 3**2)


def test_a_gap_costs_what_its_errors_add_up_to() -> None:
    values, counts = smooth(9, seed=2), np.random.default_rng(0).uniform(0.5, 2, 9)
    moments, scaled = moments_of(range(9), values), values / np.sqrt((values**2).mean())
    computed, expected = (0, 3, 4), 0.0
    for n, (newest, end) in enumerate(((0, 3), (3, 4), (4, 9))):
        anchors, summed, apart = [newest, *computed[:n][-1:]], np.zeros_like(values[0]), 0.0
        for step in range(newest + 1, end):
            weights = moments.weights(step, anchors)
            estimate = sum(w * scaled[at] for w, at in zip(weights, anchors, strict=True))
            error = counts[step] * (estimate - scaled[step])
            summed, apart = summed + error, apart + float((error**2).mean())
        expected += COHERENCE * float((summed**2).mean()) + (1 - COHERENCE) * apart
    assert cost(moments, computed, counts**2) == pytest.approx(expected, rel=1e-6)


def test_a_jump_is_computed_and_stillness_is_not() -> None:
    """Two plateaus: one computed step on each estimates all others exactly."""
    plateaus = np.random.default_rng(0).standard_normal((2, 1, 256))
    moments = moments_of(range(10), plateaus[[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])
    found, positions = best_choices(moments, np.ones(10), 2)[1]
    assert positions == (0, 4)
    assert found < 1e-6


def test_importance_draws_computed_steps_to_where_it_is() -> None:
    moments = moments_of(range(12), smooth(12, seed=3))
    late = np.array([1.0] * 6 + [100.0] * 6)
    flat, drawn = (best_choices(moments, importance, 4)[3][1] for importance in (np.ones(12), late))
    assert sum(drawn) > sum(flat)


def test_all_models_together_cost_the_least() -> None:
    tables = {"a": [9.0, 5.0, 1.0, 0.0], "b": [7.0, 6.0, 0.5], "c": [3.0, 0.0]}
    for computed in range(3, 10):
        shares = share_budget(tables, computed)
        best = min(
            sum(tables[model][n - 1] for model, n in zip(tables, split, strict=True))
            for split in itertools.product(*(range(1, len(costs) + 1) for costs in tables.values()))
            if sum(split) == computed
        )
        assert sum(shares.values()) == computed
        assert sum(tables[model][n - 1] for model, n in shares.items()) == pytest.approx(best)


def test_more_steps_than_can_be_planned_are_refused() -> None:
    count = MOST_STEPS + 1
    with pytest.raises(ValueError, match=f"at most {MOST_STEPS} steps"):
        best_choices(Moments(tuple(range(count)), np.eye(count)), np.ones(count), 2)
