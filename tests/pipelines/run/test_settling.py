"""Plans that settle their gaps, on pipelines: where they do it right, and where they must not do it."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import diffusers as d
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import CFGCache, Planned, WithGuidance
from skipstone.cachers.contract.words import Reason
from skipstone.pipelines.run import effects
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.schedule import Schedule
from skipstone.pipelines.run.settling import made_by
from skipstone.pipelines.run.stats import LogEntry
from skipstone.pipelines.run.stopwatch import Mark
from skipstone.schedules.load import load_plan
from skipstone.schedules.plan import Plan
from skipstone.schedules.recipe import Recipe
from support.solving import STEPS, Solving
from support.tiny_pipelines import PIPELINES

STRIP = "##..#.##.#"
FLOW = d.FlowMatchEulerDiscreteScheduler
OF_FLOWS: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 2.0}
DPM_OF_FLOWS = partial(d.DPMSolverMultistepScheduler, **OF_FLOWS)
UNIPC_OF_FLOWS = partial(d.UniPCMultistepScheduler, **OF_FLOWS)


def plan_of(pipe: Any, settles: bool = True, anchors: Any = 1, strip: str = STRIP, **kwargs: Any) -> Plan:
    record = skipstone.record(pipe, output_type="latent", **kwargs)
    return Plan(record, Recipe(anchors=anchors, settles=settles), strip)


def run(pipe: Any, method: Any, **kwargs: Any) -> Tensor:
    with skipstone.attach(pipe, method) as cache:
        output: Tensor = pipe(**kwargs)[0]
        assert cache.last_run.skipped > 0
    return output


def unsettled(plan: Plan) -> Plan:
    return replace(plan, recipe=replace(plan.recipe, settles=False))


SOLVERS: dict[str, Callable[[], Solving]] = {
    "flow": lambda: Solving(FLOW(shift=2.0)),
    "flow from an image": lambda: Solving(FLOW(shift=2.0), begin=3),
    "flow that stops early": lambda: Solving(FLOW(shift=2.0), rest=4),
    "flow, as a tuple": lambda: Solving(FLOW(), return_dict=False),
    "DDIM of noise": lambda: Solving(d.DDIMScheduler(clip_sample=False)),
    "DDIM of v": lambda: Solving(d.DDIMScheduler(clip_sample=False, prediction_type="v_prediction")),
    "DDIM of noise that stops early": lambda: Solving(d.DDIMScheduler(clip_sample=False), rest=8),
    "Euler of noise": lambda: Solving(d.EulerDiscreteScheduler()),
    "Euler of v": lambda: Solving(d.EulerDiscreteScheduler(prediction_type="v_prediction")),
    "Euler of v that stops early": lambda: Solving(
        d.EulerDiscreteScheduler(prediction_type="v_prediction"), rest=8
    ),
    "Euler, as a tuple": lambda: Solving(d.EulerDiscreteScheduler(), return_dict=False),
    "DPM++ of noise": lambda: Solving(d.DPMSolverMultistepScheduler()),
    "DPM++ of flows": lambda: Solving(DPM_OF_FLOWS()),
    "DPM++ of third order, from an image": lambda: Solving(
        d.DPMSolverMultistepScheduler(solver_order=3, use_karras_sigmas=True), begin=3
    ),
    "UniPC of noise": lambda: Solving(d.UniPCMultistepScheduler()),
    "UniPC of flows": lambda: Solving(UNIPC_OF_FLOWS()),
    "UniPC of flows, from an image": lambda: Solving(UNIPC_OF_FLOWS(), begin=3),
    "UniPC of third order": lambda: Solving(d.UniPCMultistepScheduler(solver_order=3)),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_undone_wholly_the_gaps_leave_no_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each reused output misses is a multiple of one tensor, so an innovation tells all of it.

    The toy does not see the latents.
    """
    monkeypatch.setattr(effects, "response", lambda *of: 0.0)
    monkeypatch.setattr(effects, "_known", {})
    pipe = SOLVERS[name]()
    plan, uncached = plan_of(pipe), pipe()[0]
    error, before = ((run(pipe, one) - uncached).norm() for one in (plan, unsettled(plan)))
    assert before > 0.005 * uncached.norm()
    assert error < 0.02 * before
    assert torch.equal(pipe()[0], uncached)


class OwnEulerDiscreteScheduler(FLOW):
    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


OTHERS: dict[str, Callable[[], Solving]] = {
    "tiles": lambda: Solving(FLOW(), tiles=2),
    "a time for each token": lambda: PerToken(FLOW()),
    "copies for frames": lambda: Frames(FLOW(), since=0),
    "a copy for a later frame": lambda: Frames(FLOW(), since=4),
    "noise asked for": lambda: Solving(d.DDIMScheduler(clip_sample=False), eta=0.5, generator=None),
    "DDIM that clips": lambda: Solving(d.DDIMScheduler()),
    "noise that grows": lambda: Solving(FLOW(invert_sigmas=True)),
    "DPM++ with noise": lambda: Solving(d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")),
    "DPM++ that clips": lambda: Solving(d.DPMSolverMultistepScheduler(thresholding=True)),
    "UniPC with another predictor": lambda: Solving(
        d.UniPCMultistepScheduler(solver_p=d.DDIMScheduler(clip_sample=False))
    ),
    "DPM++ of single steps": lambda: Solving(d.DPMSolverSinglestepScheduler()),
    "DEIS": lambda: Solving(d.DEISMultistepScheduler()),
    "somebody's own": lambda: Solving(OwnEulerDiscreteScheduler()),
    "Euler ancestral": lambda: Solving(d.EulerAncestralDiscreteScheduler()),
}


class PerToken(Solving):
    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        self.given["per_token_timesteps"] = time.expand(latents.shape[:2])
        return super().solve(output, time, latents)


class Frames(Solving):
    """From some step on a copy of the scheduler takes each step first, for a frame that is returned."""

    def __init__(self, *args: Any, since: int) -> None:
        super().__init__(*args)
        self.since = since

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        times = self.scheduler.timesteps
        if time == times[self.since]:
            self.other = copy.deepcopy(self.scheduler)
        if time > times[self.since]:
            return super().solve(output, time, latents)
        frame: Tensor = self.other.step(output, time, latents)[0]
        super().solve(output, time, latents)
        return frame


@pytest.mark.parametrize("name", OTHERS)
def test_elsewhere_nothing_is_settled(name: str) -> None:
    pipe = OTHERS[name]()
    plan = plan_of(pipe)
    torch.manual_seed(0)
    ours = run(pipe, plan)
    torch.manual_seed(0)
    assert torch.equal(ours, run(pipe, unsettled(plan)))


KINDS: dict[str, Any] = {
    "wan": {}, "flux-distilled": {}, "sd3": {}, "stable-diffusion": {}, "stable-diffusion-xl": {},
    "pixart-sigma": {"scheduler": d.DDIMScheduler(clip_sample=False)}, "flux-image-to-image": {},
}  # fmt: skip
"""Two calls a step, one, and a batch of both branches; DDIM and both of Euler's."""


@pytest.mark.parametrize("name", [name for name in KINDS if name in PIPELINES])
def test_pipelines_settle(name: str) -> None:
    case = PIPELINES[name].make()
    case.pipe.scheduler = KINDS[name].get("scheduler", case.pipe.scheduler)
    case.kwargs["num_inference_steps"] = STEPS
    uncached = case()
    record = skipstone.record(case.pipe, **case.kwargs, output_type="latent")
    plan = Plan(record, Recipe(), STRIP[: record.steps])
    outputs = []
    for one in (plan, unsettled(plan)):
        with skipstone.attach(case.pipe, one) as cache:
            outputs.append(case())
            again = case()
        assert torch.equal(outputs[-1], again)
        assert cache.last_run.strip == plan.strip
    assert torch.isfinite(outputs[0]).all()
    assert not torch.equal(*outputs)
    assert torch.equal(case(), uncached)


@pytest.fixture(scope="module")
def wan() -> tuple[Any, Plan]:
    case = PIPELINES["wan"].make()
    case.kwargs["num_inference_steps"] = STEPS
    record = skipstone.record(case.pipe, **case.kwargs, output_type="latent")
    return case, Plan(record, Recipe(), STRIP)


Change = Callable[[Any, int], dict[str, Any]]


def first_settled(
    case: Any, plan: Plan, change: Change = lambda pipe, n: {}, wrap: Any = Planned
) -> int | None:
    """The first step after which settling makes a difference."""
    seen: list[list[Tensor]] = []

    def look(pipe: Any, n: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
        seen[-1].append(given["latents"].clone())
        return change(pipe, n)

    for one in (plan, unsettled(plan)):
        seen.append([])
        with skipstone.attach(case.pipe, wrap(one)):
            case(callback_on_step_end=look)
    alike = [torch.equal(ours, others) for ours, others in zip(*seen, strict=True)]
    return alike.index(False) if False in alike else None


def other_prompt(at: int) -> Change:
    def change(pipe: Any, n: int) -> dict[str, Any]:
        return {"prompt_embeds": torch.ones(1, 6, 8)} if n == at else {}

    return change


def no_guidance(at: int) -> Change:
    def change(pipe: Any, n: int) -> dict[str, Any]:
        pipe._guidance_scale = 1.0 if n >= at else pipe._guidance_scale
        return {}

    return change


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (other_prompt(99), 4),
        (other_prompt(1), 9),  # Step 2 is computed, in part: neither 4 nor 6 is estimated as planned.
        (other_prompt(3), 9),  # Step 4 is, all of it.
        (no_guidance(1), 9),
        (no_guidance(3), 9),
    ],
    ids=["nothing", "a prompt in a gap", "a prompt after it", "guidance in a gap", "guidance after it"],
)
def test_after_a_change_a_step_settles_once_its_estimates_are_as_planned(
    wan: tuple[Any, Plan], change: Change, first: int
) -> None:
    assert first_settled(*wan, change) == first


def test_two_experts_settle_their_own_gaps() -> None:
    case = PIPELINES["wan-two-experts"].make()
    case.kwargs["num_inference_steps"] = STEPS
    record = skipstone.record(case.pipe, **case.kwargs, output_type="latent")
    first = {model: record.recorded(model, "residual").steps[0] for model in record.models}
    assert 3 < first["transformer_2"] < STEPS - 4
    marks = ["."] * STEPS
    for step in (0, first["transformer_2"], first["transformer_2"] + 1, STEPS - 1):
        marks[step] = "#"
    # The first gap ends with the other expert's first step, which tells nothing of it.
    assert first_settled(case, Plan(record, Recipe(), "".join(marks))) == STEPS - 1
    marks[3] = "#"
    assert first_settled(case, Plan(record, Recipe(), "".join(marks))) == 3


def test_where_one_branch_of_guidance_is_saved_nothing_is_settled(wan: tuple[Any, Plan]) -> None:
    def saving(plan: Plan) -> Any:
        return WithGuidance(Planned(plan), CFGCache(interval=STEPS, start=0.0))

    case, plan = wan
    assert first_settled(case, plan, wrap=saving) is None


@pytest.mark.parametrize("steps", [6, 8, 12, 17, 20])
def test_a_plan_for_other_steps_is_settled_by_them(steps: int) -> None:
    pipe = Solving(FLOW())
    plan = plan_of(pipe, strip="#..#...#..")
    uncached = pipe(steps=steps)[0]
    ours, others = ((run(pipe, one, steps=steps) - uncached).norm() for one in (plan, unsettled(plan)))
    assert ours < 0.95 * others


def test_a_run_that_was_broken_off_leaves_nothing_to_the_next(wan: tuple[Any, Plan]) -> None:
    case, plan = wan

    def fail(pipe: Any, n: int, *rest: Any) -> Any:
        if n == 2:
            raise KeyboardInterrupt
        return {}

    with skipstone.attach(case.pipe, plan):
        expected = case()
        with pytest.raises(KeyboardInterrupt):
            case(callback_on_step_end=fail)
        assert torch.equal(case(), expected)
    with torch.inference_mode(), skipstone.attach(case.pipe, plan):
        assert torch.equal(case(), expected)


def test_what_is_kept_for_settling_is_counted_and_freed_with_the_run(wan: tuple[Any, Plan]) -> None:
    case, plan = wan
    with skipstone.attach(case.pipe, plan) as cache:
        latents = case()
        ours, methods = cache.last_run.bytes_held, cache._log.passes[-1].methods
        assert [method.nbytes for method in methods.values()] == [0]
    with skipstone.attach(case.pipe, unsettled(plan)) as cache:
        case()
        assert ours == cache.last_run.bytes_held + 2 * latents.nbytes


def test_a_run_for_a_speedup_frees_what_it_kept() -> None:
    pipe = Solving(FLOW(shift=2.0))
    with skipstone.attach(pipe, speedup=2.0) as cache:
        for _ in range(2):
            pipe()
        assert cache.last_run.skipped > 0
        assert [method.nbytes for method in cache._log.passes[-1].methods.values()] == [0]


def test_runs_that_take_turns_are_settled_as_each_alone() -> None:
    pipe = Solving(FLOW())
    plan = plan_of(pipe)
    with skipstone.attach(pipe, plan) as cache:
        alone = [list(pipe.request(cache, seed))[-1] for seed in (1, 2)]
        together = list(zip(pipe.request(cache, 1), pipe.request(cache, 2), strict=True))[-1]
    with skipstone.attach(pipe, unsettled(plan)) as cache:
        others = [list(pipe.request(cache, seed))[-1] for seed in (1, 2)]
    for ours, right, other in zip(together, alone, others, strict=True):
        assert torch.equal(ours, right)
        assert not torch.equal(ours, other)


def entry(step: int, branch: str = "cond", reason: Any = Reason.PLANNED, **given: Any) -> LogEntry:
    mark = Mark(torch.device("cpu"))
    return LogEntry(given.pop("model", "transformer"), branch, step, reason, mark, mark, **given)


HALF: Counter[tuple[str, bool]] = Counter({("unconditional half", True): 1})


@pytest.mark.parametrize(
    ("entries", "is_whole"),
    [
        ([], False),
        ([entry(1)], True),
        ([entry(1, reason=None)], True),
        ([entry(1), entry(1, "uncond")], True),
        ([entry(1), entry(1, "uncond", None)], False),
        ([entry(1), entry(1, "uncond", Reason.CONDITION_CHANGED)], False),
        ([entry(1), entry(1, model="transformer_2")], False),
        ([entry(1, parts=HALF)], False),
        ([entry(0), entry(0, "uncond"), entry(1), entry(1, "uncond")], True),
        ([entry(0, "cond+uncond"), entry(1), entry(1, "uncond")], True),
        ([entry(0), entry(0, "uncond"), entry(1)], False),
        ([entry(0, model="transformer_2"), entry(1), entry(1, "uncond")], True),
    ],
)
def test_a_step_is_whole_if_all_of_it_was_made_alike(entries: list[LogEntry], is_whole: bool) -> None:
    one = Run(Schedule.counted(4))
    one.log.entries = entries
    assert (made_by(one.log, 1) is not None) == is_whole


def test_a_plan_file_tells_whether_it_settles_and_an_old_one_does_not(tmp_path: Any) -> None:
    path = tmp_path / "plan.json"
    for settles in (True, False):
        plan_of(Solving(FLOW()), settles, 2).save(path)
        assert load_plan(path).recipe == Recipe(settles=settles)
    plan_of(Solving(FLOW()), True, 2).save(path)
    written = path.read_text()
    old = written.replace(', "settles": true', "").replace(',"settles":true', "")
    assert "settles" not in old
    path.write_text(old)
    assert load_plan(path).recipe == Recipe(settles=False)
