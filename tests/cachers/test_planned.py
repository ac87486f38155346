"""Running a plan: the steps, the weights, the guard, and what no plan serves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import CFGCache, Planned, WithGuidance
from skipstone.cachers.contract.async_copy import AsyncCopy
from skipstone.cachers.contract.words import Reason, RunFacts, Step
from skipstone.cachers.guard import FLOOR, Comparison, Course
from skipstone.pipelines.evaluations.base import decides_alike
from skipstone.schedules.plan import ANCHORS, Plan
from skipstone.schedules.record import Record
from support import tiny
from support.bending import bending
from support.recorded import Listening, recorded
from support.tiny_pipelines import PIPELINES
from support.toy import ToyModel, ToyPipeline


def record_of(inputs: Any) -> Record:
    with torch.no_grad():
        return skipstone.record(Listening(ToyModel()), inputs, output_type="latent")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return record_of(bending(16)).plan(computed=6)


def run(plan: Plan, inputs: Any, **kwargs: Any) -> tuple[list[Tensor], skipstone.RunStats]:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, plan, **kwargs) as cache:
        return pipe(inputs), cache.last_run


def test_the_plan_decides_and_nothing_else(plan: Plan) -> None:
    for inputs in (bending(16), bending(16, bend=3), bending(16, bend=float("nan"))):
        assert run(plan, inputs, guard=None)[1].strip == plan.strip


def test_a_skipped_step_is_the_input_and_the_weighted_residuals(plan: Plan) -> None:
    """The toy adds 6 * temb to its input of ones."""
    inputs = bending(16)
    outputs, stats = run(plan, inputs, guard=None)
    moments, anchors = plan.weights["transformer"], []
    for step, output in enumerate(outputs):
        if plan.strip[step] == "#":
            anchors = [step, *anchors][:ANCHORS]
        weights = [1.0] if step in anchors else moments.weights(step, anchors)
        residual = sum(w * 6 * inputs[at]["temb"] for w, at in zip(weights, anchors, strict=False))
        assert torch.allclose(output, 1 + residual, atol=1e-4), step
    assert stats.reasons == {"first step": 1, "the plan asks for it": plan.computed - 1}


def test_the_estimates_are_as_far_off_as_the_plan_expects(plan: Plan) -> None:
    inputs = bending(16)
    outputs, _ = run(plan, inputs, guard=None)
    for step, expected in enumerate(plan.expected_errors()):
        if expected is not None:
            truth = 6 * inputs[step]["temb"]
            error = (outputs[step] - 1 - truth).norm() / truth.norm()
            assert float(error) == pytest.approx(expected, abs=0.02), step


@pytest.mark.parametrize("name", [name for name in PIPELINES if "wan" in name or "flux" in name])
def test_pipelines_run_by_their_own_plans(name: str) -> None:
    plan = recorded(name).plan(computed=2)
    case = PIPELINES[name].make()
    with skipstone.attach(case.pipe, plan, guard=None) as cache:
        output = case()
    assert torch.isfinite(output).all()
    # A branch of guidance that begins later computes its first evaluation, whatever the plan says.
    assert cache.last_run.strip.replace("+", ".") == plan.strip
    assert cache.last_run.skipped > 0


def test_a_recorded_prompt_deviates_little_and_follows_its_plan(plan: Plan) -> None:
    _, stats = run(plan, bending(16), guard=2.0)
    assert stats.strip == plan.strip
    assert len(stats.deviations) == 1
    assert stats.deviations[0] < 1.5


def test_a_harder_prompt_is_given_more_computed_steps_from_two_steps_later_on(plan: Plan) -> None:
    _, stats = run(plan, bending(16, bend=0.5), guard=2.0)
    assert stats.strip.count("#") > plan.computed
    assert stats.reasons["the run deviates from the record, so a denser plan is followed"] >= 1
    assert stats.deviations[0] > 2
    compared = plan.strip.index("#", 1)
    assert stats.strip[: compared + 2] == plan.strip[: compared + 2]


def test_a_wider_margin_lets_more_pass(plan: Plan) -> None:
    computed = [run(plan, bending(16, bend=0.5), guard=guard)[1].computed for guard in (1.1, 10.0, 1e6, None)]
    assert computed == sorted(computed, reverse=True)
    assert computed[0] > computed[-1] == plan.computed


def test_the_guard_brings_a_harder_prompt_closer(plan: Plan) -> None:
    inputs = bending(16, bend=0.5)
    truth = torch.stack([1 + 6 * one["temb"] for one in inputs])
    errors = [(torch.stack(run(plan, inputs, guard=guard)[0]) - truth).norm() for guard in (2.0, None)]
    assert errors[0] < 0.9 * errors[1]


def test_one_sample_that_deviates_is_enough_and_each_has_its_own_deviation(plan: Plan) -> None:
    calm, hard = bending(16), bending(16, bend=0.5)
    inputs = [{key: torch.cat([a[key]] * 3 + [b[key]]) for key in a} for a, b in zip(calm, hard, strict=True)]
    _, stats = run(plan, inputs, guard=2.0)
    assert stats.strip.count("#") > plan.computed
    assert len(stats.deviations) == 4
    assert max(stats.deviations[:3]) < stats.deviations[3]


def test_both_branches_are_computed_together_when_one_deviates() -> None:
    plan = record_of(bending(16)).plan(computed=6)
    pipe = ToyPipeline(ToyModel(), branches=2)
    pairs = list(zip(bending(16), bending(16, bend=0.5), strict=True))
    with torch.no_grad(), skipstone.attach(pipe, plan, guard=2.0) as cache:
        pipe(pairs)
    assert cache.last_run.strip.count("#") > plan.computed
    assert "+" not in cache.last_run.strip


def test_the_guard_watches_batches_and_their_conditional_halves() -> None:
    """From the middle on both branches are computed on every other step, and half of the batch between."""
    plan = record_of(bending(16, batch=2)).plan(computed=7)
    method = WithGuidance(Planned(plan, guard=2.0), CFGCache(start=0.5, interval=2, low=0.0, high=0.0))
    for bend, deviates in ((0.0, False), (0.5, True)):
        pipe = ToyPipeline(ToyModel())
        with torch.no_grad(), skipstone.attach(pipe, method) as cache:
            pipe(bending(16, bend=bend, batch=2))
        assert cache.last_run.parts["unconditional half"] == {"computed": 12, "skipped": 4}
        assert (Reason.DEVIATES.value in cache.last_run.reasons) == deviates
        assert len(cache.last_run.deviations) == 1
        assert (cache.last_run.deviations[0] > 2) == deviates


def test_a_second_run_starts_from_the_plan_again(plan: Plan) -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, plan, guard=2.0) as cache:
        pipe(bending(16, bend=0.5))
        assert cache.last_run.strip != plan.strip
        pipe(bending(16))
        assert cache.last_run.strip == plan.strip


def course(margin: float = 2.0, most: int = 2) -> Course:
    return Course(margin, most)


def compare(course: Course, step: int, expected: float, *errors: float) -> None:
    course.waiting.append(Comparison(step, expected, AsyncCopy(torch.tensor(errors).square())))


def at(course: Course, index: int) -> int:
    return course.look(Step(index, 20, 1.0))


def test_a_comparison_is_read_two_steps_later() -> None:
    one = course()
    compare(one, 3, 0.1, 0.5)
    assert [at(one, index) for index in (3, 4, 5)] == [0, 0, 1]


def test_the_level_rises_once_for_what_was_compared_before_it_rose() -> None:
    one = course()
    for step in (3, 4):
        compare(one, step, 0.1, 0.5)
    assert [at(one, index) for index in (5, 6)] == [1, 1]
    compare(one, 7, 0.1, 0.5)
    assert at(one, 9) == 2
    compare(one, 12, 0.1, 0.5)
    assert at(one, 14) == 2


def test_a_level_stays_within_a_step() -> None:
    """The second branch of a step does what the first one did."""
    one = course()
    assert at(one, 5) == 0
    compare(one, 3, 0.1, 0.5)
    assert at(one, 5) == 0
    assert at(one, 6) == 1


@pytest.mark.parametrize(
    ("expected", "error", "level"),
    [(0.1, 0.19, 0), (0.1, 0.21, 1), (0.0, 1.9 * FLOOR, 0), (0.0, 2.1 * FLOOR, 1), (0.1, float("nan"), 1)],
)
def test_the_margin_is_of_the_expected_error_or_of_what_rounding_makes(
    expected: float, error: float, level: int
) -> None:
    one = course()
    compare(one, 0, expected, 0.0, error)
    assert at(one, 2) == level


@pytest.mark.parametrize(
    ("times", "level"),
    [
        ((1, 1, 4, 3.9), 0),
        ((1, 1, 4, 4.1), 1),
        ((0.2, 1, 1, 1, 1, *[2.3] * 4), 0),
        ((0.2, 1, 1, 1, 1, *[2.5] * 4), 1),
        ((0, 8.9, 8.9), 0),
        ((0, 9.1, 9.1), 1),
    ],
)
def test_the_last_five_comparisons_are_judged_by_their_geometric_mean(
    times: Sequence[float], level: int
) -> None:
    """Four of 2.38 after one of 1 make 2, and two of 8.95 after an exact one, which counts as 0.1."""
    one = course()
    for step, error in enumerate(times):
        compare(one, step, 0.1, 0.1 * error)
    assert at(one, 18) == level


def test_deviations_are_root_mean_squares_of_all_comparisons() -> None:
    one = course()
    compare(one, 0, 0.1, 0.1, 0.3)
    compare(one, 1, 0.2, 0.2, 0.4)
    assert one.deviations() == pytest.approx([1.0, ((9 + 4) / 2) ** 0.5])


@pytest.mark.parametrize("turned", [False, True])
def test_a_sample_that_is_in_a_batch_with_its_other_branch_deviates_by_their_mean(turned: bool) -> None:
    one = course()
    for errors in ((0.1, 0.2, 0.3, 0.4), (0.5, 0.6))[:: -1 if turned else 1]:
        compare(one, 0, 0.1, *errors)
    assert one.deviations() == pytest.approx([((5 + 25) / 2) ** 0.5, ((10 + 36) / 2) ** 0.5])


@pytest.mark.parametrize("guard", [1.0, 0.5, float("nan"), float("inf")])
def test_a_guard_that_is_no_margin_is_refused(plan: Plan, guard: float) -> None:
    with pytest.raises(ValueError, match="guard must be"):
        skipstone.Planned(plan, guard=guard)


def test_another_number_of_steps_is_served_with_the_same_share(plan: Plan) -> None:
    for steps, computed in ((12, 4), (24, 9)):
        _, stats = run(plan, bending(steps), guard=None)
        # A step whose noise level is outside the recorded ones is computed and changes the count by it.
        assert abs(stats.computed - computed) <= 1
        assert stats.steps == steps


def test_a_run_that_no_plan_serves_is_computed_and_says_why(plan: Plan) -> None:
    _, stats = run(plan, bending(50))
    assert stats.skipped == 0
    assert stats.reasons == {"the plan does not serve such a run": 50}
    assert "a record of 16 steps serves runs of 8 to 32, this one has 50: record again" in str(stats)


def test_a_plan_for_another_model_is_refused(plan: Plan) -> None:
    with pytest.raises(ValueError, match="the plan was made for 'ToyModel', this is WanTransformer3DModel"):
        skipstone.attach(tiny.wan().pipe, plan)
    experts = PIPELINES["wan-two-experts"].make()
    named = {"models": {"transformer": {"class": "WanTransformer3DModel"}}}
    alone = replace(plan, record=replace(plan.record, made_for=named))
    with pytest.raises(ValueError, match="for transformer, but the pipeline also has transformer_2"):
        skipstone.attach(experts.pipe, alone)


@pytest.mark.parametrize("guard", [None, 2.0])
def test_a_run_that_is_unlike_the_recorded_one_says_so(plan: Plan, guard: float | None) -> None:
    made_for = {**plan.record.made_for, "guidance": {"guidance_scale": 4.0}}
    guided = Planned(replace(plan, record=replace(plan.record, made_for=made_for)), guard)
    facts = RunFacts(tuple(Step(n, 16, 1.0) for n in range(16)), tuple(made_for["shape"]), made_for["dtype"])
    alike, unlike = (replace(facts, scales={"guidance_scale": scale}) for scale in (4.0, 7.0))
    said = "the plan was made for guidance_scale 4.0, not 7.0: record a run like this one"
    assert said not in guided.for_run(alike).remarks()
    assert said in guided.for_run(unlike).remarks()
    larger = guided.for_run(replace(alike, shape=(9, 9))).remarks()
    assert f"made for shape {made_for['shape']}, not [9, 9]" in larger[-1]


def test_processes_decide_alike_only_if_nothing_is_seen_or_remembered(plan: Plan) -> None:
    def alike(method: skipstone.Cacher[Any]) -> bool:
        return decides_alike(method, method.new_state())

    by_the_step = (skipstone.FORA(), skipstone.PAB(), skipstone.Warmup(skipstone.FORA(), steps=2))
    assert all(map(alike, by_the_step))
    others = (skipstone.FirstBlock(), skipstone.AdaCache("open-sora-30-fast"), skipstone.Planned(plan))
    assert not any(map(alike, others))
    assert not alike(skipstone.Warmup(skipstone.Planned(plan), steps=2))


def test_a_plan_has_no_hyper_parameters_but_those_of_the_method(plan: Plan) -> None:
    with pytest.raises(TypeError, match="planned has no hyper-parameter 'threshold'"):
        skipstone.attach(ToyPipeline(ToyModel()), plan, threshold=1)
    with pytest.raises(TypeError, match="planned needs plan="):
        skipstone.attach(ToyPipeline(ToyModel()), "planned")


def test_steps_that_the_record_does_not_know_are_computed_and_not_estimated_from() -> None:
    """CogVideoX's sampler ends at a noise level below those of a shorter recorded run."""
    case = tiny.cogvideox()
    plan = recorded("cogvideox").plan(computed=3)
    with skipstone.attach(case.pipe, plan, guard=None) as cache:
        case(num_inference_steps=12)
    known = plan.for_levels(_levels(case, 12)).weights["transformer"].steps
    assert len(known) < 12
    assert all(cache.last_run.strip[n] == "#" for n in range(12) if n not in known)
    assert cache.last_run.skipped > 0


def _levels(case: tiny.Tiny, steps: int) -> list[float]:
    scheduler: Any = diffusers.CogVideoXDDIMScheduler.from_config(case.pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    shares = [float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps]
    return [(1 - share) ** 0.5 / (share**0.5 + (1 - share) ** 0.5) for share in shares]


def test_a_sampler_without_noise_levels_is_planned_by_its_steps() -> None:
    steps = tuple(Step(n, 4, 1.0) for n in range(4))
    facts = RunFacts(steps)
    assert facts.levels == (1.0, 0.75, 0.5, 0.25)
    for levels, expected in (
        ((0.9, 0.5, 0.4, 0.1), (0.9, 0.5, 0.4, 0.1)),
        ((0.9, 0.9, 0.4, 0.1), facts.levels),
    ):
        pairs = zip(steps, levels, strict=True)
        known = tuple(replace(step, signal=3 * (1 - level), noise=3 * level) for step, level in pairs)
        assert replace(facts, steps=known).levels == pytest.approx(expected)


def test_numbers_on_their_way_are_what_was_sent() -> None:
    tensor = torch.tensor([1.0, 2.0])
    late = AsyncCopy(tensor)
    assert late.read() == [1.0, 2.0]
