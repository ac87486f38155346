"""What can be promised from how many prompts, and how few plans are run for it."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import skipstone
from skipstone.schedules.calibration import Calibration
from skipstone.schedules.moments import moments_of
from skipstone.schedules.plan import Plan, make_plans
from skipstone.schedules.profile import Quantity
from skipstone.schedules.promise import (
    Goal,
    Promise,
    budgets,
    failures_allowed,
    promised_share,
    prompts_needed,
    surely_kept,
)
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.record import Record
from skipstone.schedules.strips import fewest
from support.needing import Needing
from support.smooth import smooth

STEPS = 20
RESIDUAL = Quantity("transformer", "branch 0", "residual")


@cache
def record() -> Record:
    moments = {RESIDUAL: moments_of(range(STEPS), smooth(STEPS, 0))}
    return Record({"models": {}}, tuple(np.linspace(1, 0.05, STEPS)), moments)


def plans() -> list[Plan]:
    return make_plans(record(), Recipe(), list(budgets(fewest(record()), STEPS - 1)))


GOAL = Goal("psnr", 30.0)


def calibrated(trials: Sequence[Needing], share: float | None = None) -> Plan:
    return Calibration(GOAL, share, trials).sparsest(plans())


@pytest.mark.parametrize(
    ("share", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.8, 4), (0.75, 3), (0.94, 16)]
)
def test_a_share_needs_so_many_prompts_of_which_none_fails(share: float, needed: int) -> None:
    assert prompts_needed(share) == needed
    assert failures_allowed(needed, share) == 0
    assert failures_allowed(needed - 1, share) == -1
    assert promised_share(needed, 0) >= share > promised_share(needed - 1, 0)


@pytest.mark.parametrize(
    ("prompts", "share", "allowed"), [(19, 0.9, 1), (29, 0.9, 2), (39, 0.95, 1), (59, 0.95, 2), (38, 0.95, 0)]
)
def test_more_prompts_may_have_failures(prompts: int, share: float, allowed: int) -> None:
    assert failures_allowed(prompts, share) == allowed


@pytest.mark.parametrize(
    ("prompts", "failures", "share"),
    [(22, 0, 0.9), (38, 1, 0.9), (45, 0, 0.95), (77, 1, 0.95), (19, 0, 0.885)],
)
def test_what_nine_of_ten_calibrations_keep_is_the_bound_of_clopper_and_pearson(
    prompts: int, failures: int, share: float
) -> None:
    assert surely_kept(prompts, failures) >= share > surely_kept(prompts - 1, failures)


def test_budgets_rise_by_about_a_tenth_to_the_end_and_are_whole() -> None:
    tried = list(budgets(3, 49))
    assert tried[:9] == list(range(3, 12))
    assert tried == sorted(set(tried))
    assert max(after / before for before, after in pairwise(tried[9:])) < 1.15
    assert tried[-1] == 49
    assert list(budgets(4, 5)) == [4, 5]
    assert list(budgets(5, 5)) == [5]
    assert list(budgets(1, 0)) == []


def test_the_sparsest_plan_is_taken_that_no_prompt_too_many_misses() -> None:
    needs = [3, 4, 5, 6, 6, 5, 4, 3, 3, 2]
    plan = calibrated([Needing(one) for one in needs], 0.9)
    assert plan.computed == 6
    assert plan.promise == Promise(GOAL, 0.9, (30.0,) * 10)
    assert (plan.promise.prompts, plan.promise.failures) == (10, 0)
    assert calibrated([Needing(one) for one in [2] * 37 + [9, 9]], 0.95).computed == 9
    one_of_39 = calibrated([Needing(one) for one in [2] * 38 + [9]], 0.95)
    assert one_of_39.computed == 2
    assert one_of_39.promise is not None
    assert one_of_39.promise.failures == 1


def test_the_order_of_prompts_changes_nothing() -> None:
    needs = [2, 2, 7, 3, 3, 5, 2, 2, 2]
    chooser, plans = random.Random(0), []
    for _ in range(5):
        chooser.shuffle(needs)
        plans.append(calibrated([Needing(one) for one in needs], 0.9).strip)
    assert len(set(plans)) == 1


def test_values_stand_in_the_order_of_prompts() -> None:
    trials = [Needing(n) for n in (9, 2, 2, 2, 2)]
    values = Calibration(GOAL, 0.6, trials).sparsest(plans()).promise
    assert values is not None
    assert values.values == (20.0, 30.0, 30.0, 30.0, 30.0)


def test_a_plan_that_a_prompt_misses_costs_one_run() -> None:
    trials = [Needing(n) for n in [2] * 18 + [10]]
    calibrated(trials)
    runs = [title for trial in trials for title in trial.titles]
    uncached = sum("uncached" in title for title in runs)
    assert uncached == 19
    # 19 at the sparsest plan that fails the last prompt, 7 or so that it fails at once, 19 of the kept one.
    assert len(runs) - uncached <= 19 + len(list(budgets(2, 9))) + 19


def test_titles_say_which_run_of_how_many() -> None:
    trials = [Needing(n) for n in (2, 2, 2)]
    calibrated(trials)
    titles = sorted((title for trial in trials for title in trial.titles), key=lambda t: int(t.split()[1]))
    assert titles[0] == "run 1 of 6 or more: uncached, prompt 1 of 3"
    assert titles[1] == "run 2 of 6 or more: 1 of 20 steps, prompt 1 of 3"
    assert titles[-1].startswith("run 7 of 7 or more: 2 of 20 steps, prompt ")


def test_what_is_known_is_not_run_again() -> None:
    trials = [Needing(3, known=True) for _ in range(9)]
    assert calibrated(trials, 0.9).computed == 3
    assert not any(trial.titles for trial in trials)


def test_too_few_prompts_are_refused_with_what_is_needed_and_what_they_allow() -> None:
    said = r"0\.95 needs 19 prompts, got 5.*with 5, share=0\.833 can be promised"
    with pytest.raises(ValueError, match=said):
        calibrated([Needing(2)] * 5, 0.95)


def test_without_a_share_few_prompts_promise_nothing_and_say_so() -> None:
    plan = calibrated([Needing(4)])
    assert plan.computed == 4
    assert plan.promise is not None
    assert plan.promise.share is None
    assert "kept by 1 of 1 calibrated prompts: promised to no others; 19 prompts are needed" in plan.explain()
    assert calibrated([Needing(4) for _ in range(19)]).promise == Promise(GOAL, 0.95, (30.0,) * 19)


def test_a_quality_that_no_plan_keeps_is_refused_with_how_many_miss_it() -> None:
    with pytest.raises(ValueError, match="30 dB cannot be promised: 1 or more of 9 prompts miss it with 19"):
        calibrated([*(Needing(4) for _ in range(8)), Needing(20)], 0.9)


def test_other_prompts_keep_what_is_promised_as_often_as_promised() -> None:
    """Drawn from one distribution; half of the plans here are luckier than their share."""
    chooser, kept = np.random.default_rng(0), []
    for _ in range(100):
        needs = np.minimum(chooser.geometric(0.25, 219), 18)
        plan = calibrated([Needing(int(one)) for one in needs[:19]])
        kept.append(float((needs[19:] <= plan.computed).mean()))
    assert 0.95 <= np.mean(kept) < 0.985
    assert min(kept) < 0.95


@pytest.mark.parametrize(
    ("goal", "better", "worse", "words"),
    [
        (Goal("psnr", 35.0), 35.0, 34.9, "PSNR of at least 35 dB"),
        (Goal("ssim", 0.95), 0.96, 0.94, "SSIM of at least 0.95"),
        (Goal("lpips", 0.05), 0.04, 0.06, "LPIPS of at most 0.05"),
    ],
)
def test_goals(goal: Goal, better: float, worse: float, words: str) -> None:
    assert goal.is_kept(better)
    assert not goal.is_kept(worse)
    assert not goal.is_kept(goal.worst([better, math.nan]))
    assert goal.worst([better, worse]) == worse
    assert str(goal) == words


def test_a_promise_is_explained_and_survives_its_file(tmp_path: Path) -> None:
    plan = calibrated([Needing(4) for _ in range(39)], 0.95)
    said = (
        "PSNR of at least 30 dB, promised to 95 in 100 prompts like these: kept by 39 of 39 in the "
        "calibration, and by at least 94.2 in 100 in nine of ten such calibrations"
    )
    assert said in plan.explain()
    assert plan.summary()["promise"] == {
        "metric": "psnr", "value": 30.0, "share": 0.95, "prompts": 39, "failures": 0
    }  # fmt: skip
    plan.save(tmp_path / "plan.json")
    read = skipstone.load_plan(tmp_path / "plan.json")
    assert read.promise == plan.promise
    assert read.deviations == plan.deviations == (0.25,) * 39


def test_a_file_whose_values_miss_what_it_promises_is_refused(tmp_path: Path) -> None:
    plan = calibrated([Needing(4) for _ in range(19)])
    assert plan.promise is not None
    broken = replace(plan, promise=replace(plan.promise, values=(*plan.promise.values[:-1], 12.0)))
    broken.save(tmp_path / "plan.json")
    with pytest.raises(ValueError, match="promise 1 of 19 values miss what is promised"):
        skipstone.load_plan(tmp_path / "plan.json")
