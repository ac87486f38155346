"""Running a plan: the steps, the weights, hard prompts, and what no plan serves."""

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import CFGCache, Planned, WithGuidance
from skipstone.cachers.contract.async_copy import AsyncCopy
from skipstone.cachers.contract.words import RunFacts, Step
from skipstone.cachers.innovation import Innovation
from skipstone.pipelines.evaluations.base import decides_alike
from skipstone.schedules.plan import Plan, Validation, make_plan
from skipstone.schedules.recipe import ANCHORS
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
        assert run(plan, inputs)[1].strip == plan.strip


def test_a_skipped_step_is_the_input_and_the_weighted_residuals(plan: Plan) -> None:
    """The toy adds 6 * temb to its input of ones."""
    inputs = bending(16)
    outputs, stats = run(plan, inputs)
    moments, anchors = plan.weights["transformer"], []
    for step, output in enumerate(outputs):
        if plan.strip[step] == "#":
            anchors = [step, *anchors][:ANCHORS]
        weights = [1.0] if step in anchors else moments.weights(step, anchors)
        residual = sum(w * 6 * inputs[at]["temb"] for w, at in zip(weights, anchors, strict=False))
        assert torch.allclose(output, 1 + residual, atol=1e-4), step
    assert stats.reasons == {"first step": 1, "the plan asks for it": plan.computed - 1}


def test_a_plan_that_reuses_holds_one_residual_and_adds_it_as_it_is(plan: Plan) -> None:
    inputs = bending(16)
    outputs, stats = run(make_plan(plan.record, plan.recipe.reusing, 6), inputs)
    computed = 0
    for step, output in enumerate(outputs):
        computed = step if stats.strip[step] == "#" else computed
        assert torch.allclose(output, 1 + 6 * inputs[computed]["temb"], atol=1e-4), step
    assert stats.bytes_held == run(plan, inputs)[1].bytes_held / ANCHORS


def test_the_estimates_are_as_far_off_as_the_plan_expects(plan: Plan) -> None:
    inputs = bending(16)
    outputs, _ = run(plan, inputs)
    for step, expected in enumerate(plan.expected_errors()):
        if expected is not None:
            truth = 6 * inputs[step]["temb"]
            error = (outputs[step] - 1 - truth).norm() / truth.norm()
            assert float(error) == pytest.approx(expected, abs=0.02), step


@pytest.mark.parametrize("name", [name for name in PIPELINES if "wan" in name or "flux" in name])
def test_pipelines_run_by_their_own_plans(name: str) -> None:
    plan = recorded(name).plan(computed=2)
    case = PIPELINES[name].make()
    with skipstone.attach(case.pipe, plan) as cache:
        output = case()
    assert torch.isfinite(output).all()
    # A branch of guidance that begins later computes its first evaluation, whatever the plan says.
    assert cache.last_run.strip.replace("+", ".") == plan.strip
    assert cache.last_run.skipped > 0


def test_deviations_are_what_computed_steps_add_to_their_estimates(plan: Plan) -> None:
    """The toy's output is 1 + 6 * temb; all of its elements are alike in each of its channels."""
    inputs = bending(16, bend=0.5)
    _, stats = run(plan, inputs)
    outputs, anchors, squares = [1 + 6 * one["temb"] for one in inputs], list[int](), list[Tensor]()
    for step in (n for n, mark in enumerate(plan.strip) if mark == "#"):
        if anchors:
            weights = plan.weights["transformer"].weights(step, anchors)
            estimate = sum(w * outputs[at] for w, at in zip(weights, anchors, strict=True))
            squares.append((outputs[step] - estimate).square())
        anchors = [step, *anchors][:ANCHORS]
    assert stats.deviations == pytest.approx((float(torch.stack(squares).mean().sqrt()),), rel=0.05)


def test_each_sample_of_a_batch_has_its_own_deviation_and_a_harder_one_deviates_more(plan: Plan) -> None:
    calm, hard = bending(16), bending(16, bend=0.5)
    inputs = [{key: torch.cat([a[key]] * 3 + [b[key]]) for key in a} for a, b in zip(calm, hard, strict=True)]
    _, stats = run(plan, inputs)
    assert len(stats.deviations) == 4
    assert max(stats.deviations[:3]) < stats.deviations[3]
    assert stats.deviations[0] == pytest.approx(run(plan, calm)[1].deviations[0])


def test_a_second_run_deviates_as_if_it_were_the_first(plan: Plan) -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, plan) as cache:
        pipe(bending(16, bend=0.5))
        pipe(bending(16))
        assert cache.last_run.deviations == run(plan, bending(16))[1].deviations


def judged(plan: Plan, *deviations: float) -> Plan:
    """The plan after runs that deviate so."""
    seen = Validation(plan.recipe, plan.computed, (40.0,) * len(deviations), deviations)
    return replace(plan, validations=(seen,))


SAID = "harder than 9 in 10 recorded runs"


def test_a_prompt_that_is_harder_than_recorded_ones_is_told(plan: Plan) -> None:
    calm, hard = (run(plan, bending(16, bend=bend))[1].deviations[0] for bend in (0.0, 0.5))
    known = judged(plan, *[calm * 1.01] * 9, hard * 1.01)
    for bend, told, share in ((0.0, False, 0.0), (0.5, True, 0.9)):
        stats = run(known, bending(16, bend=bend))[1]
        assert stats.harder == (share,)
        assert (SAID in str(stats)) == told
    assert run(judged(plan, *[calm] * 8, hard), bending(16, bend=0.5))[1].harder == ()


def test_hard_samples_of_a_batch_are_named(plan: Plan) -> None:
    calm, hard = bending(16), bending(16, bend=0.5)
    known = judged(plan, *[run(plan, calm)[1].deviations[0] * 1.01] * 10)
    inputs = [{key: torch.cat([a[key], b[key]]) for key in a} for a, b in zip(calm, hard, strict=True)]
    stats = run(known, inputs)[1]
    assert stats.harder == (0.0, 1.0)
    assert f"sample 2 of 2: {SAID}" in str(stats)


def test_without_recorded_runs_earlier_ones_are_compared_with(plan: Plan) -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, plan) as cache:
        for _ in range(10):
            pipe(bending(16))
            assert cache.last_run.harder == ()
        pipe(bending(12))
        pipe(bending(16, bend=0.5))
        assert cache.last_run.harder == (1.0,)
        assert "harder than 9 in 10 earlier runs" in str(cache.last_run)
        pipe(bending(16))
        assert cache.last_run.harder == (0.0,)
        assert "harder" not in str(cache.last_run)


def test_runs_unlike_the_recorded_ones_are_not_compared_with_them(plan: Plan) -> None:
    known = judged(plan, *[0.0] * 10)
    made_for = {**plan.record.made_for, "dtype": "bfloat16"}
    other = replace(known, record=replace(plan.record, made_for=made_for))
    assert run(known, bending(16))[1].harder == (1.0,)
    assert run(other, bending(16))[1].harder == ()
    assert run(known, bending(12))[1].harder == ()


def add(innovation: Innovation, index: int, **parts: Tensor) -> None:
    for branch, part in parts.items():
        innovation.add(Step(index, 20, 1.0), branch, part)


def test_the_innovation_is_that_of_the_guided_output() -> None:
    """At a scale of 3 parts of 2 and 1 make 3 * 2 - 2 * 1, in two calls as in the halves of one."""
    cond, uncond = torch.full((1, 8), 2.0), torch.full((1, 8), 1.0)
    called, batched = Innovation(3.0), Innovation(3.0)
    for index in (3, 5):
        add(called, index, cond=cond, uncond=uncond)
        add(batched, index, both=torch.cat([uncond, cond]))
    assert called.sizes() == batched.sizes() == pytest.approx([4.0])
    add(plain := Innovation(), 3, cond=cond)
    assert plain.sizes() == pytest.approx([2.0])


def test_the_innovation_is_a_root_mean_square_over_steps_with_the_same_branches() -> None:
    innovation = Innovation(3.0)
    add(innovation, 1, cond=torch.full((1, 8), 3.0), uncond=torch.full((1, 8), 3.0))
    assert innovation.sizes() == pytest.approx([3.0])
    add(innovation, 2, cond=torch.full((1, 8), 100.0))
    add(innovation, 4, cond=torch.full((1, 8), 4.0), uncond=torch.full((1, 8), 4.0))
    for _ in range(2):
        assert innovation.sizes() == pytest.approx([(25 / 2) ** 0.5])
    assert Innovation().sizes() == []


def test_batches_of_which_half_is_computed_are_followed_too() -> None:
    """From the middle on both branches are computed on every other step, and half of the batch between."""
    plan = record_of(bending(16, batch=2)).plan(computed=7)
    method = WithGuidance(Planned(plan), CFGCache(start=0.5, interval=2, low=0.0, high=0.0))
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe(bending(16, bend=0.5, batch=2))
    assert cache.last_run.parts["unconditional half"] == {"computed": 12, "skipped": 4}
    assert len(cache.last_run.deviations) == 2


def test_another_number_of_steps_is_served_with_the_same_share(plan: Plan) -> None:
    for steps, computed in ((12, 4), (24, 9)):
        _, stats = run(plan, bending(steps))
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


def test_a_run_that_is_unlike_the_recorded_one_says_so(plan: Plan) -> None:
    made_for = {**plan.record.made_for, "guidance": {"guidance_scale": 4.0}}
    guided = Planned(replace(plan, record=replace(plan.record, made_for=made_for)))
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
    with pytest.raises(TypeError, match="planned has no hyper-parameter 'guard'"):
        skipstone.attach(ToyPipeline(ToyModel()), plan, guard=2.0)
    with pytest.raises(TypeError, match="planned needs plan="):
        skipstone.attach(ToyPipeline(ToyModel()), "planned")


def test_steps_that_the_record_does_not_know_are_computed_and_not_estimated_from() -> None:
    """CogVideoX's sampler ends at a noise level below those of a shorter recorded run."""
    case = tiny.cogvideox()
    plan = recorded("cogvideox").plan(computed=3)
    with skipstone.attach(case.pipe, plan) as cache:
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
