"""Plans: what they reach, what they refuse, what they say, and their files."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone.pipelines.recording.randomness import MOST
from skipstone.schedules.best_steps import cost
from skipstone.schedules.calibration import Trial
from skipstone.schedules.moments import moments_of
from skipstone.schedules.plan import NO_SAFE_SKIPS, Plan, make_plan
from skipstone.schedules.profile import Quantity
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.record import Record
from skipstone.schedules.search import MARGIN, RECIPES, Judge, Judgement
from support import tiny
from support.needing import Needing
from support.smooth import smooth

RESIDUAL = Quantity("transformer", "branch 0", "residual")

CANDIDATES = {*RECIPES, replace(RECIPES[0], settles=False), RECIPES[0].reusing}


class Counting:
    """A judge by whom a plan is worth its number of computed steps and no more, whatever else it does."""

    def __init__(self, skip_cost: float | None = None) -> None:
        self.judged: list[Plan] = []
        self._skip_cost = skip_cost

    def __call__(self, plan: Plan) -> Judgement:
        self.judged.append(plan)
        return Judgement((float(plan.computed), 99.0), self._skip_cost)

    def joined(self, other: Judge) -> Judge:
        raise NotImplementedError

    def trials(self, prompts: Sequence[str] | None) -> Sequence[Trial]:
        raise NotImplementedError


def record_of(steps: int = 20, judge: Judge | None = None, seed: int = 0, **moments: Any) -> Record:
    levels = tuple(np.linspace(1, 0.05, steps))
    found = {RESIDUAL: moments_of(range(steps), smooth(steps, seed)), **moments}
    return Record({}, levels, found, judge=judge)


@pytest.mark.parametrize("computed", [1, 2, 7, 19, 20])
def test_so_many_steps_are_computed_as_asked_for(computed: int) -> None:
    plan = record_of().plan(computed=computed)
    assert plan.computed == plan.strip.count("#") == computed
    assert plan.strip[0] == "#"
    assert len(plan.strip) == 20


@pytest.mark.parametrize("speedup", [1.0, 1.5, 2.0, 3.0, 5.0, 20.0])
@pytest.mark.parametrize("skip_cost", [0.0, 0.04])
def test_no_number_of_steps_is_nearer_to_the_time_that_was_asked_for(
    speedup: float, skip_cost: float
) -> None:
    record = replace(record_of(), skip_cost=skip_cost)
    if speedup == 20.0 and skip_cost:
        speedup = 10.0
    times = {n: n + (20 - n) * skip_cost for n in range(1, 21)}
    plan = record.plan(speedup=speedup)
    assert abs(times[plan.computed] - 20 / speedup) == min(
        abs(time - 20 / speedup) for time in times.values()
    )
    assert plan.speedup == pytest.approx(20 / times[plan.computed])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "exactly one of speedup, computed, quality, ssim and lpips"),
        ({"speedup": 2.0, "computed": 3}, "exactly one"),
        ({"speedup": 0.9}, "speedup must be"),
        ({"speedup": math.nan}, "speedup must be"),
        (
            {"speedup": 21.0},
            "speedup 21 cannot be reached with 20 steps.*best possible is 20.00",
        ),
        ({"computed": 0}, "computed must be a whole number from 1"),
        ({"computed": 21}, "computed must be 1 to 20"),
        ({"quality": 30.0}, "need runs of the pipeline.*record again"),
        ({"computed": 5, "refine": 3}, "need runs of the pipeline"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record_of().plan(**asked)


def test_a_quality_is_promised_from_prompts_that_the_judge_runs() -> None:
    """The recipe is chosen by the judge, the density by the trials."""

    class Running(Liking):
        def trials(self, prompts: Sequence[str] | None) -> Sequence[Trial]:
            assert prompts == ["a", "b"]
            return [Needing(4), Needing(7)]

    plan = with_guided(record_of(judge=Running(5.0, 5.0))).plan(quality=30.0, prompts=["a", "b"])
    assert plan.computed == 7
    assert plan.recipe == RECIPES[1]
    assert {one.recipe for one in plan.validations[:-1]} == CANDIDATES
    assert plan.validated is not None
    assert plan.validated.psnr == (30.0, 30.0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"computed": 5, "share": 0.9}, "a share is promised of a quality"),
        ({"computed": 5, "prompts": ["a"]}, "prompts promise a quality"),
        ({"quality": 30.0, "prompts": ["a", "b", "a"]}, "prompts has 'a' twice"),
        ({"quality": 30.0, "share": 1.0}, "share must be a finite number > 0.5 and < 1"),
        ({"quality": 30.0, "share": 0.5}, "share must be"),
        ({"quality": 30.0, "refine": 2}, "leave refine out"),
        ({"quality": 30.0, "lpips": 0.1}, "exactly one of"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record_of(judge=Counting()).plan(**asked)


def test_a_text_in_place_of_a_list_of_prompts_is_refused() -> None:
    with pytest.raises(TypeError, match="prompts must be"):
        record_of(judge=Counting()).plan(quality=30.0, prompts="a prompt")


def test_a_measured_cost_of_skipping_is_taken_into_account() -> None:
    """With skipped steps at a tenth, 20 / 3 steps' worth of time leaves 5 computed: 5 + 15 / 10 = 6.5."""
    plan = record_of(judge=Counting(skip_cost=0.1)).plan(speedup=3.0)
    assert plan.computed == 5
    assert plan.speedup == pytest.approx(20 / 6.5)


class Liking(Counting):
    """Likes the second candidate by so many dB, on each prompt."""

    def __init__(self, *by: float) -> None:
        super().__init__()
        self.by = by

    def __call__(self, plan: Plan) -> Judgement:
        self.judged.append(plan)
        return Judgement(tuple(30.0 + (by if plan.recipe == RECIPES[1] else 0.0) for by in self.by))


def with_guided(record: Record) -> Record:
    guided = {
        Quantity("transformer", "guided", name): moments_of(range(20), smooth(20, seed))
        for seed, name in ((1, "residual"), (2, "output"))
    }
    return replace(record, moments={**record.moments, **guided})


def test_a_candidate_that_is_surely_better_is_kept_with_all_measurements() -> None:
    plan = with_guided(record_of(judge=Liking(1.0, 2.0, 3.0))).plan(computed=6)
    assert plan.recipe == RECIPES[1]
    assert {one.recipe for one in plan.validations} == CANDIDATES
    assert plan.validations[-1].recipe == RECIPES[1]
    assert plan.validated is not None
    assert plan.validated.worst == 31


@pytest.mark.parametrize("by", [(-1.0, -2.0, -3.0), (9.0, -8.0, 0.0), (0.0, 0.0)])
def test_a_candidate_that_may_be_better_by_chance_is_not_taken(by: tuple[float, ...]) -> None:
    assert with_guided(record_of(judge=Liking(*by))).plan(computed=6).recipe == RECIPES[0]


def test_one_prompt_must_show_a_clear_difference() -> None:
    for by, taken in ((MARGIN + 0.1, RECIPES[1]), (MARGIN - 0.1, RECIPES[0])):
        assert with_guided(record_of(judge=Liking(by))).plan(computed=6).recipe == taken


def test_a_recipe_refuses_powers_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match="power must be 1 or 2, got 3"):
        Recipe(power=3)


def test_identical_outputs_are_no_reason_to_change() -> None:
    class Same(Liking):
        def __call__(self, plan: Plan) -> Judgement:
            return Judgement((math.inf, math.inf))

    assert with_guided(record_of(judge=Same())).plan(computed=6).recipe == RECIPES[0]


def test_without_guided_matrices_no_candidate_needs_them() -> None:
    judge = Counting()
    record_of(judge=judge).plan(computed=6)
    found = {plan.recipe for plan in judge.judged}
    assert found == {Recipe(), Recipe(power=1), Recipe(settles=False), Recipe().reusing}


def test_refining_keeps_only_what_measures_better() -> None:
    class AsyncCopy(Counting):
        """Likes computed steps late in the run."""

        def __call__(self, plan: Plan) -> Judgement:
            self.judged.append(plan)
            return Judgement((float(sum(n for n, mark in enumerate(plan.strip) if mark == "#")),))

    judge = AsyncCopy()
    record = record_of(judge=judge)
    plain, refined = record.plan(computed=5), record.plan(computed=5, refine=30)
    assert plain.validated is not None
    assert refined.validated is not None
    assert refined.validated.worst > plain.validated.worst
    assert refined.strip.count("#") == 5
    assert refined.strip[0] == "#"
    assert all(one.worst <= refined.validated.worst for one in refined.validations)


def test_expected_errors_are_those_of_the_weights() -> None:
    plan = record_of().plan(computed=5)
    moments = plan.weights["transformer"]
    computed = [step for step, mark in enumerate(plan.strip) if mark == "#"]
    for step, error in enumerate(plan.expected_errors()):
        anchors = [one for one in reversed(computed) if one < step][:2]
        assert (error is None) == (step in computed)
        if error is not None:
            assert error == moments.error(step, anchors, moments.weights(step, anchors))


def test_with_weights_of_another_matrix_errors_are_still_those_of_the_residuals() -> None:
    guided = Quantity("transformer", "guided", "residual")
    record = record_of(**{})
    both = replace(record, moments={**record.moments, guided: moments_of(range(20), smooth(20, seed=5))})
    plan = make_plan(both, Recipe(weights="guided residual"), 5)
    step = plan.strip.index(".")
    weights = both.moments[guided].weights(step, [0])
    assert plan.expected_error("transformer", step, [0]) == both.moments[RESIDUAL].error(step, [0], weights)


def test_a_plan_explains_itself() -> None:
    lines = record_of(judge=Counting()).plan(computed=5).explain().splitlines()
    assert lines[0].count("#") == 5
    assert len(lines[1]) == 20
    assert [a == "#" for a in lines[0]] == [b == "#" for b in lines[1]]
    assert max(mark for mark in lines[1] if mark != "#") == "9"
    assert "5 of 20 steps computed, expected speedup 4.00x" in lines
    assert "validated: PSNR 5.0 dB on the worst prompt, with other noise" in lines
    assert "not validated: the pipeline was not at hand" in record_of().plan(computed=5).explain()


def test_steps_that_are_too_unlike_each_other_are_not_called_safe() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 1, 500))
    unlike = Record({}, (1.0, 0.7, 0.4, 0.1), {RESIDUAL: moments_of(range(4), noise)})
    assert NO_SAFE_SKIPS in unlike.plan(computed=2).explain()
    assert NO_SAFE_SKIPS not in record_of().plan(computed=5).explain()


def test_two_models_are_planned_together() -> None:
    """As well as by trying all choices of so many steps of both."""
    values = smooth(12, seed=1, coordinates=32)
    parts = {Quantity("a", "x", "residual"): moments_of(range(5), values[:5]),
             Quantity("b", "x", "residual"): moments_of(range(5, 12), values[5:])}  # fmt: skip
    record = Record({}, tuple(np.linspace(1, 0.1, 12)), parts)
    plan = make_plan(record, Recipe(), 5)
    assert plan.strip[0] == plan.strip[5] == "#"
    costs = [cost_of(record, choice) for choice in strips_of(12, 5) if choice[0] == choice[5] == "#"]
    assert cost_of(record, plan.strip) == pytest.approx(min(costs), abs=1e-9)


def strips_of(steps: int, computed: int) -> list[str]:
    choices = itertools.combinations(range(steps), computed)
    return ["".join("#" if n in choice else "." for n in range(steps)) for choice in choices]


def cost_of(record: Record, strip: str) -> float:
    """What a strip costs in all models together."""
    importance, total = record.importance(2), 0.0
    for part in record.moments.values():
        computed = [n for n, step in enumerate(part.steps) if strip[step] == "#"]
        total += cost(part, computed, importance[list(part.steps)])
    return total


def test_a_plan_is_the_same_after_its_file(tmp_path: Path) -> None:
    plan = record_of(judge=Counting()).plan(computed=6)
    plan.save(tmp_path / "plan.json")
    read = skipstone.load_plan(tmp_path / "plan.json")
    assert (read.strip, read.recipe, read.validations) == (plan.strip, plan.recipe, plan.validations)
    assert read.weights["transformer"].weights(5, [4, 0]) == pytest.approx(
        plan.weights["transformer"].weights(5, [4, 0]), abs=1e-5
    )


def test_identical_output_survives_the_file(tmp_path: Path) -> None:
    class Same(Counting):
        def __call__(self, plan: Plan) -> Judgement:
            return Judgement((math.inf,))

    plan = record_of(judge=Same()).plan(computed=20)
    plan.save(tmp_path / "plan.json")
    read = skipstone.load_plan(tmp_path / "plan.json").validated
    assert read is not None
    assert read.psnr == (math.inf,)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a record": (lambda plan: {**plan, "format": "skipstone record"}, "no skipstone plan but a 'skipston"),
    "newer": (lambda plan: {**plan, "schema": 99}, "has schema 99.*upgrade"),
    "older": (lambda plan: {**plan, "schema": 2}, "has schema 2, this skipstone reads 3: make the plan"),
    "unknown prediction": (
        lambda plan: {**plan, "record": {**plan["record"], "made_for": {"prediction": "x"}}},
        "is damaged: record.made_for.prediction should be 'flow', .*, got 'x'",
    ),
    "a precision that is no name": (
        lambda plan: {**plan, "record": {**plan["record"], "made_for": {"dtype": ["bfloat16"]}}},
        "is damaged: record.made_for.dtype should be",
    ),
    "strip of another run": (lambda plan: {**plan, "strip": "#.#"}, "is damaged.*for 20 steps"),
    "the first step skipped": (
        lambda plan: {**plan, "strip": "." + "#" * 19},
        "is damaged: strip should compute step 0, which nothing can estimate",
    ),
    "no step computed": (lambda plan: {**plan, "strip": "." * 20}, "is damaged: strip should compute"),
    "no strip": (lambda plan: {**plan, "strip": ""}, "is damaged"),
    "unknown marks": (lambda plan: {**plan, "strip": "#x" * 10}, "is damaged"),
    "unknown matrix": (
        lambda plan: {**plan, "recipe": {**plan["recipe"], "weights": "guided output"}},
        "is damaged.*no guided output",
    ),
    "no record": (lambda plan: {**plan, "record": {}}, "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_plan_is_refused_with_the_reason(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = tmp_path / "plan.json"
    record_of().plan(computed=6).save(path)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        skipstone.load_plan(path)


def test_a_plan_serves_another_number_of_steps_with_the_same_share_computed() -> None:
    plan = record_of().plan(computed=6)
    other = plan.for_levels(np.linspace(1, 0.05, 30).tolist())
    assert len(other.strip) == 30
    assert other.computed == 9
    assert plan.for_levels(plan.record.levels) is plan


def test_candidates_are_measured_as_a_user_would_run_them_with_other_noise() -> None:
    pipe = tiny.wan()
    asked = {**pipe.kwargs, "num_inference_steps": 10, "output_type": "np"}
    record = skipstone.record(pipe.pipe, **asked, generator=torch.Generator().manual_seed(4))
    plan = record.plan(computed=5)
    seed = int(torch.randint(MOST, (), generator=torch.Generator().manual_seed(4)))
    uncached = pipe.pipe(**asked, generator=torch.Generator().manual_seed(seed))[0]
    with skipstone.attach(pipe.pipe, plan) as cache:
        cached = pipe.pipe(**asked, generator=torch.Generator().manual_seed(seed))[0]
    assert cache.last_run.strip == plan.strip
    error = np.mean((cached - uncached).astype(np.float64) ** 2)
    assert plan.validated is not None
    assert plan.validated.psnr == pytest.approx((-10 * math.log10(error),), abs=0.01)
