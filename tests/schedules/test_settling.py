"""What a computed step undoes of the gap before it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skipstone.schedules.moments import Moments, moments_of
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import GUIDED, Profile, Quantity
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.settling import MOST_DRIFT, drift_settlement, settlement
from support.smooth import smooth

STEPS = 10


def rising() -> Moments:
    """Of outputs ``1 + step``."""
    values = 1.0 + np.arange(STEPS)
    return Moments(tuple(range(STEPS)), np.outer(values, values))


SHARE = 0.7


def reuse(step: int) -> list[float]:
    return [1.0]


def of(*effects: float) -> list[Any]:
    """How much of the outputs of steps 3, 4 and 5 is in the latents."""
    return [np.array([0.0, 0.0, 0.0, *effects, *[0.0] * (STEPS - 6)])]


EVENLY = of(1.0, 1.0, 1.0)
NO_ECHO = np.zeros(STEPS)


def test_a_gap_before_outputs_that_rise_in_a_line() -> None:
    """Step 2 is reused for 3, 4 and 5, which misses 1, 2 and 3; step 6 shows a difference of 4."""
    found = settlement(rising(), [2], 6, reuse, of(-0.1, -0.1, -0.1), NO_ECHO, SHARE)
    assert found.weights == (1.0,)
    assert found.factors == pytest.approx([SHARE * -0.1 * (1 + 2 + 3) / 4])
    assert found.expected == pytest.approx(4**2 / 3**2)


def test_each_error_counts_by_how_much_of_the_output_is_there() -> None:
    """What the solver goes on from may be several things."""
    found = settlement(rising(), [2], 6, reuse, [*of(0.25, 0.5, 1.0), *of(0.0, 0.0, -2.0)], NO_ECHO, SHARE)
    missing = 1 * 0.25 + 2 * 0.5 + 3, 3 * -2
    assert found.factors == pytest.approx([SHARE * one / 4 for one in missing])


def test_an_echo_of_the_errors_is_no_innovation() -> None:
    """Half of what was missed is missing in the step's output, too, so that 4 + 3 is seen of 4."""
    (echo,) = of(-0.5, -0.5, -0.5)
    found = settlement(rising(), [2], 6, reuse, EVENLY, echo, SHARE)
    assert found.factors == pytest.approx([SHARE * (1 + 2 + 3) / 7])
    assert found.expected == pytest.approx(7**2 / 3**2)
    drifted = drift_settlement(EVENLY, echo, 2, 6, SHARE)
    assert drifted.factors == pytest.approx(found.factors)


def test_of_a_drift_echoes_leave_half_at_least() -> None:
    (echo,) = of(0.5, 0.5, 0.5)
    found = drift_settlement(EVENLY, echo, 2, 6, SHARE)
    assert found.factors == pytest.approx([SHARE * (1 + 2 + 3) / 4 / 0.5])


def test_outputs_that_have_nothing_in_common_share_only_the_reused_one() -> None:
    """The difference of two unlike outputs has the size 2, of which the reused one is half."""
    unlike = Moments(tuple(range(STEPS)), np.eye(STEPS))
    found = settlement(unlike, [2], 6, reuse, EVENLY, NO_ECHO, SHARE)
    assert found.factors == pytest.approx([SHARE * 3 / 2])
    assert found.expected == pytest.approx(2.0)


def test_exact_estimates_leave_nothing_to_undo() -> None:
    """A line through two steps is the outputs."""
    found = settlement(rising(), [2, 1], 6, lambda at: [at - 1.0, 2.0 - at], EVENLY, NO_ECHO, SHARE)
    assert found.weights == (5.0, -4.0)
    assert found.expected == pytest.approx(0.0, abs=1e-9)
    assert abs(found.factors[0]) <= SHARE * 3
    assert settlement(rising(), [2], 3, reuse, EVENLY, NO_ECHO, SHARE).factors == (0.0,)


def plan_of(strip: str, recipe: Recipe | None = None, **others: Any) -> Plan:
    moments = moments_of(range(len(strip)), smooth(len(strip)))
    found = {Quantity("transformer", "branch 0", name): moments for name in ("residual", "output")}
    found |= {Quantity("transformer", GUIDED, name): other for name, other in others.items()}
    times = tuple(np.linspace(1, 0.1, len(strip)))
    return Plan(Profile({}, times, found), recipe or Recipe(), strip)


STRIP = "##..#.##.."


def test_only_a_step_after_a_gap_settles() -> None:
    plan = plan_of(STRIP)
    computed = [step for step in range(STEPS) if STRIP[step] == "#"]
    found = {step: plan.settlement("transformer", step, EVENLY, NO_ECHO) for step in computed}
    assert [step for step, one in found.items() if one is not None] == [4, 6]
    assert plan.anchors("transformer", 4) == [1, 0]
    assert plan.anchors("transformer", 6) == [4, 1]
    assert found[4] is not None
    assert found[4].weights == tuple(plan.weights_for("transformer", 4, [1, 0]))


def test_a_recipe_may_leave_gaps_as_they_are() -> None:
    for recipe in (Recipe(settles=False), Recipe(settles=False).reusing):
        assert plan_of(STRIP, recipe).settlement("transformer", 4, EVENLY, NO_ECHO) is None


def test_a_recipe_that_weighs_stays_as_it_is_and_one_that_reuses_gets_the_usual() -> None:
    for recipe in (Recipe(), Recipe(settles=False)):
        assert recipe.weighing is recipe
    assert Recipe(power=1, settles=False).reusing.weighing == Recipe(power=1)


def test_without_recorded_outputs_nothing_is_settled() -> None:
    plan = plan_of(STRIP)
    alone = {key: part for key, part in plan.record.moments.items() if key.name == "residual"}
    without = replace(plan, record=replace(plan.record, moments=alone))
    assert without.settlement("transformer", 4, EVENLY, NO_ECHO) is None


def test_outputs_that_are_guided_on_a_part_of_the_steps_settle_that_part() -> None:
    """What the solver got on the others is not known."""
    plan = plan_of(STRIP, output=moments_of(range(1, 8), smooth(7)))
    found = [plan.settlement("transformer", step, EVENLY, NO_ECHO) is not None for step in (4, 6)]
    assert found == [False, True]


def test_steps_beyond_the_recorded_times_do_not_settle() -> None:
    """Twice as many steps come nearer to the end than the record, which says nothing of those."""
    times = [*np.linspace(1, 0.05, 2 * STEPS)]
    plan = plan_of(STRIP).for_levels(times)
    beyond = next(step for step in range(2 * STEPS) if step not in plan.weights["transformer"].steps)
    for strip in (plan.strip[: beyond - 1] + "." + plan.strip[beyond:], plan.strip):
        one = replace(plan, strip=strip)
        assert strip[beyond] == "#"
        assert one.settlement("transformer", beyond, EVENLY, NO_ECHO) is None


def test_an_even_drift_is_settled_as_outputs_that_rise_in_a_line() -> None:
    there = of(0.3, 0.5, -1.0)
    recorded = settlement(rising(), [2], 6, reuse, there, NO_ECHO, SHARE)
    drifted = drift_settlement(there, NO_ECHO, 2, 6, SHARE)
    assert drifted.factors == pytest.approx(recorded.factors)
    assert drifted.weights == recorded.weights
    assert drifted.expected == MOST_DRIFT
