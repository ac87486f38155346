"""Methods that reuse, settled, on pipelines: the gaps that leave no trace, and where nothing may change."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import diffusers as d
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import (
    FORA,
    Cacher,
    DBCache,
    FirstBlock,
    PerModel,
    RunCap,
    SeaCache,
    StepMask,
    Tail,
    TeaCache,
    Warmup,
    WithSettling,
)
from skipstone.cachers.contract.words import Outcome, Probe, Step
from support.adapters import lora
from support.solving import STEPS, Solving
from support.tiny_pipelines import PIPELINES

FLOW = d.FlowMatchEulerDiscreteScheduler
HAS_FLOW_MAPS = hasattr(d, "FlowMapEulerDiscreteScheduler")


def settled(method: Any, share: float = 1.0) -> Cacher[Any]:
    return WithSettling(method, share)


def run(pipe: Any, method: Any, **kwargs: Any) -> Tensor:
    with skipstone.attach(pipe, method) as cache:
        output: Tensor = pipe(**kwargs)[0]
        assert cache.last_run.skipped > 0
    return output


NEVER = FORA(1000)

CLOSED: dict[str, Cacher[Any]] = {
    "fora": settled(FORA(3)),
    "a limit within": settled(Warmup(FORA(3), 3)),
    "a limit around": Warmup(settled(FORA(3)), 3),
    "a cap within": settled(RunCap(NEVER, 2)),
    "a cap around": RunCap(settled(NEVER), 2),
    "a mask and a tail": Tail(settled(StepMask(NEVER, "#..#.#....")), 1),
    "teacache": settled(Tail(RunCap(TeaCache(9.0, rescale="none"), 3), 1)),
    "seacache": settled(Tail(RunCap(SeaCache(9.0), 3), 1)),
    "first block, which runs on each step": settled(Tail(RunCap(FirstBlock(9.0), 3), 1)),
    "two first blocks": settled(Tail(RunCap(DBCache(9.0, 2, 0), 2), 1)),
}
"""Methods that compute the last step, so that each gap is closed."""

RUN_BLOCKS = {"first block, which runs on each step": 1 / 6, "two first blocks": 3 / 6}
"""What blocks that run on each step add, as a share of all: that part was not missed, but is undone, too."""


@pytest.mark.parametrize("name", CLOSED)
def test_outputs_in_a_line_end_where_they_would_without_a_cache(name: str) -> None:
    pipe = Solving(FLOW(shift=2.0))
    uncached, method = pipe()[0], CLOSED[name]
    bare = run(pipe, without(method)) - uncached
    left = run(pipe, method) - uncached
    assert bare.norm() > 0.005 * uncached.norm()
    # What is undone beyond is the share of the blocks that ran over that of the others.
    beyond = RUN_BLOCKS.get(name, 0.0)
    assert torch.allclose(left, -beyond / (1 - beyond) * bare, atol=2e-3 * float(bare.norm()))
    assert torch.equal(pipe()[0], uncached)


def without(method: Cacher[Any]) -> Cacher[Any]:
    """The method as it is where nothing is settled."""
    if isinstance(method, WithSettling):
        return method.cacher
    inner: Any = method
    return type(inner)(
        without(inner.cacher),
        *(getattr(inner, name) for name in ("steps", "skips", "mask") if hasattr(inner, name)),
    )


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_share_of_the_error_is_undone(share: float) -> None:
    pipe = Solving(FLOW())
    uncached = pipe()[0]
    bare, ours = (run(pipe, one) - uncached for one in (FORA(3), settled(FORA(3), share)))
    assert torch.allclose(ours, (1 - share) * bare, atol=1e-4 * float(bare.norm()))


def test_attach_takes_its_name_and_share() -> None:
    pipe = Solving(FLOW())
    with skipstone.attach(pipe, "fora+settling", interval=3, share=0.5) as cache:
        ours = pipe()[0]
        assert cache.last_run.method == "fora interval 3; settling share 0.5"
    assert torch.equal(ours, run(pipe, settled(FORA(3), 0.5)))
    assert not torch.equal(ours, run(pipe, settled(FORA(3))))


def test_each_sample_of_a_batch_is_settled_by_itself() -> None:
    """Also by methods that decide for all of them."""

    class Batch(Solving):
        def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
            return [output.flatten(0, 1) for output in super().__call__(*args, **kwargs)]

    pipe = Batch(FLOW())
    assert (run(pipe, settled(FORA(3))) - pipe()[0]).norm() < 1e-4 * (run(pipe, FORA(3)) - pipe()[0]).norm()


UNSETTLED: dict[str, Callable[[], Solving]] = {
    "DDIM that clips": lambda: Solving(d.DDIMScheduler()),
    "DEIS": lambda: Solving(d.DEISMultistepScheduler()),
    "DPM++ with noise": lambda: Solving(d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")),
    "LCM": lambda: Solving(d.LCMScheduler()),
    "Euler ancestral": lambda: Solving(d.EulerAncestralDiscreteScheduler()),
    "Heun": lambda: Solving(d.HeunDiscreteScheduler()),
    "noise that grows": lambda: Solving(FLOW(invert_sigmas=True)),
    "tiles": lambda: Solving(FLOW(), tiles=2),
    "noise asked for by position": lambda: InOrder(d.DDIMScheduler(clip_sample=False), 0.5),
    "churn asked for by position": lambda: InOrder(d.EulerDiscreteScheduler(), 0.4),
    "a time for each token by position": lambda: InOrder(FLOW(), 0.0, 0.0, 1.0, 1.0, None, torch.ones(1, 64)),
    "a velocity made with latents": lambda: PRXPixelPipeline(FLOW()),
    **({"another time": lambda: ToAnother(d.FlowMapEulerDiscreteScheduler())} if HAS_FLOW_MAPS else {}),
}


class InOrder(Solving):
    """Gives its further arguments by position."""

    def __init__(self, scheduler: Any, *further: Any) -> None:
        super().__init__(scheduler)
        self.further = further

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        result: Tensor = self.scheduler.step(output, time, latents, *self.further)[0]
        return result


class PRXPixelPipeline(Solving):
    """Named as the one of diffusers, which takes the model's output for the sample."""

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        return super().solve((latents - output) / (time / 1000), time, latents)


class ToAnother(Solving):
    """Says itself where each step goes to."""

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        self.given["r_timestep"] = time / 2
        return super().solve(output, time, latents)


@pytest.mark.parametrize("name", UNSETTLED)
def test_on_other_samplers_nothing_changes_and_the_run_says_so(name: str) -> None:
    pipe, found, said = UNSETTLED[name](), [], []
    for method in (FORA(3), settled(FORA(3))):
        torch.manual_seed(0)
        with skipstone.attach(pipe, method) as cache:
            found.append(pipe()[0])
        assert cache.last_run.skipped > 0
        said.append("settling did nothing" in str(cache.last_run))
    assert torch.equal(*found)
    assert said == [False, True]


@pytest.mark.parametrize("steps", [1, STEPS])
def test_where_it_settles_or_has_nothing_to_settle_the_run_says_nothing_of_that(steps: int) -> None:
    pipe = Solving(FLOW())
    with skipstone.attach(pipe, settled(FORA(3))) as cache:
        pipe(steps=steps)
    assert "did nothing" not in str(cache.last_run)


class FromNothing(Solving):
    """Its first step gets nothing of what the model returned, as by CFG-Zero*."""

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        is_first = time == self.scheduler.timesteps[0]
        return super().solve(torch.zeros_like(output) if is_first else output, time, latents)


def test_outputs_that_guidance_set_to_zero_have_not_drifted() -> None:
    pipe = FromNothing(FLOW())
    method = StepMask(NEVER, "#..#" + "#" * (STEPS - 4))
    assert torch.equal(run(pipe, settled(method)), run(pipe, method))


@dataclass(frozen=True)
class ByBranch(Cacher[dict[str, str]]):
    """Compute the steps that each branch's strip marks.

    Args:
        strips: by branch.
    """

    name: ClassVar[str] = "by-branch"
    probe = Probe.NONE

    strips: Mapping[str, str]

    def new_state(self) -> dict[str, str]:
        return {}

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: dict[str, str]) -> str | None:
        return "marked" if not state or self.strips[state["branch"]][step.index] == "#" else None

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: dict[str, str]) -> None:
        state["branch"] = outcome.branch


class Guided(Solving):
    """Guides with a second call on each step; both branches' outputs are lines in the step."""

    scale = 3.0

    def true(self, branch: int, n: int) -> Tensor:
        slope = torch.randn(2, 1, 64, 8, generator=torch.Generator().manual_seed(branch))[1]
        return (0.5 + (1 + branch) * n / STEPS) * slope

    @torch.no_grad()
    def __call__(self, *args: Any, steps: int = STEPS, **kwargs: Any) -> list[Tensor]:
        latents = torch.zeros(1, 64, 8)
        self.scheduler.set_timesteps(STEPS)
        for n, time in enumerate(self.scheduler.timesteps):
            cond, uncond = (
                self.transformer(torch.full((1, 64, 8), 1.0 + branch), temb=self.true(branch, n))
                for branch in (0, 1)
            )
            latents = self.solve(self.guided(cond, uncond), time, latents)
        return [latents]

    def guided(self, cond: Tensor, uncond: Tensor) -> Tensor:
        return uncond + self.scale * (cond - uncond)


def gaps(strips: list[str]) -> set[int]:
    """The steps of gaps that are settled: all of both outputs was computed before and after, none within."""
    whole = [n for n, marks in enumerate(zip(*strips, strict=True)) if set(marks) == {"#"}]
    closed = [range(a + 1, b) for a, b in pairwise(whole)]
    return {n for gap in closed if all({s[k] for s in strips} == {"."} for k in gap) for n in gap}


def trace(pipe: Guided, strips: list[str]) -> Tensor:
    """What the gaps that are not settled leave in the latents."""
    times = [*pipe.scheduler.sigmas.tolist()[:STEPS], 0.0]
    found = torch.zeros(1, 64, 8)
    for n in set(range(STEPS)) - gaps(strips):
        missing = []
        for branch, strip in enumerate(strips):
            used = max(k for k in range(n + 1) if strip[k] == "#")
            missing.append(6 * (pipe.true(branch, used) - pipe.true(branch, n)))
        found += (times[n + 1] - times[n]) * pipe.guided(*missing)
    return found


def drawn(seed: int) -> list[str]:
    """Two strips that begin together; on most steps they agree."""
    chance = random.Random(seed)
    strip = "#" + "".join(chance.choice("#..") for _ in range(STEPS - 1))
    return [strip, "#" + "".join(chance.choice("#.") if chance.random() < 0.2 else c for c in strip[1:])]


@pytest.mark.parametrize("seed", range(16))
def test_only_gaps_that_both_branches_share_are_undone(seed: int) -> None:
    pipe, strips = Guided(FLOW()), drawn(seed)
    uncached = pipe()[0]
    method = ByBranch({f"branch {n}": strip for n, strip in enumerate(strips)})
    expected = trace(pipe, strips)
    ours = run(pipe, settled(method)) - uncached
    assert torch.allclose(ours, expected, atol=2e-4)


def test_the_drawn_strips_differ_and_have_gaps() -> None:
    all_of_them = [drawn(seed) for seed in range(16)]
    assert sum(one != other for one, other in all_of_them) > 5
    assert sum(bool(gaps(strips)) for strips in all_of_them) > 5


Change = Callable[[int], dict[str, Any]]


def latents_after(case: Any, method: Any, change: Change = lambda n: {}) -> list[Tensor]:
    """The latents after each step."""
    seen: list[Tensor] = []

    def look(pipe: Any, n: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(given["latents"].clone())
        return change(n)

    with skipstone.attach(case.pipe, method):
        case(callback_on_step_end=look)
    return seen


def first_unlike(ours: list[Tensor], others: list[Tensor]) -> int | None:
    alike = list(map(torch.equal, ours, others))
    return alike.index(False) if False in alike else None


def first_apart(case: Any, methods: tuple[Any, Any], change: Change = lambda n: {}) -> int | None:
    """The first step after which two methods' latents differ."""
    return first_unlike(*(latents_after(case, method, change) for method in methods))


@pytest.fixture
def wan() -> Any:
    case = PIPELINES["wan"].make()
    case.kwargs["num_inference_steps"] = STEPS
    return case


@pytest.mark.parametrize(("at", "first"), [(99, 3), (0, 6), (1, 6), (2, 9)])
def test_a_prompt_switched_in_a_gap_or_after_it_leaves_the_gap_as_it_is(
    wan: Any, at: int, first: int
) -> None:
    """The switched branch begins anew, whether or not that step was to be computed.

    A step that was computed for two reasons begins no gap, either.
    """

    def change(n: int) -> dict[str, Any]:
        return {"prompt_embeds": torch.ones(1, 6, 8)} if n == at else {}

    mask = StepMask(NEVER, "#..#..#..#")
    assert first_apart(wan, (mask, settled(mask)), change) == first


@pytest.mark.parametrize(("at", "first"), [(99, 3), (0, 3), (1, 6), (2, 6)])
def test_an_adapter_switched_in_a_gap_or_after_it_leaves_the_gap_as_it_is(
    wan: Any, at: int, first: int
) -> None:
    """What it changed has not drifted. A step that is computed for it begins another gap."""
    pytest.importorskip("peft", reason="adapters need peft")
    model = wan.pipe.transformer
    lora(wan, 1, "style")

    def change(n: int) -> dict[str, Any]:
        if n == at:
            model.set_adapters("style", 0.5)
        return {}

    mask, found = StepMask(NEVER, "#..#..#..#"), []
    for method in (mask, settled(mask)):
        model.set_adapters("style", 1.0)
        found.append(latents_after(wan, method, change))
    assert first_unlike(*found) == first


def test_two_experts_settle_their_own_gaps_and_none_across() -> None:
    case = PIPELINES["wan-two-experts"].make()
    case.kwargs["num_inference_steps"] = STEPS
    with skipstone.attach(case.pipe, "fora", interval=1000) as cache:
        case()
        switch = cache.last_run.strip.rindex("#")
    assert 3 < switch < STEPS - 3
    one = StepMask(NEVER, "#" + "." * (switch - 1) + "##" + "." * (STEPS - switch - 3) + "#")
    assert first_apart(case, (one, settled(one))) == STEPS - 1
    for name in ("transformer", "transformer_2"):
        mask = StepMask(NEVER, "#.#" + "." * (switch - 3) + "#.#" + "." * (STEPS - switch - 3))
        only = PerModel(mask, {name: settled(mask)})
        assert first_apart(case, (mask, only)) == (2 if name == "transformer" else switch + 2)


def test_runs_that_take_turns_are_settled_as_each_alone() -> None:
    pipe = Solving(FLOW())
    with skipstone.attach(pipe, settled(FORA(3))) as cache:
        alone = [list(pipe.request(cache, seed))[-1] for seed in (1, 2)]
        together = list(zip(pipe.request(cache, 1), pipe.request(cache, 2), strict=True))[-1]
    with skipstone.attach(pipe, FORA(3)) as cache:
        bare = [list(pipe.request(cache, seed))[-1] for seed in (1, 2)]
    for ours, right, other in zip(together, alone, bare, strict=True):
        assert torch.equal(ours, right)
        assert not torch.equal(ours, other)


def test_its_memory_is_counted_freed_and_leaves_no_trace(wan: Any) -> None:
    uncached = wan()
    with skipstone.attach(wan.pipe, FORA(3)) as cache:
        latents, bare = wan(), cache.last_run.bytes_held
    with skipstone.attach(wan.pipe, settled(FORA(3))) as cache:
        ours = wan()
        assert cache.last_run.bytes_held == bare + latents.nbytes
        assert [method.nbytes for method in cache._log.passes[-1].methods.values()] == [0]
        assert torch.equal(wan(), ours)
    assert not torch.equal(ours, latents)
    assert torch.equal(wan(), uncached)
