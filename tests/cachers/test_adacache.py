"""AdaCache's decisions against its rule, worked out a second time in numpy, and what it looks at."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

import skipstone
from skipstone import AdaCache
from skipstone.cachers import Reason, Step, Warmup
from skipstone.cachers.contract.words import Outcome
from skipstone.pipelines.model.attention import middle_block
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.model.calls import Call
from skipstone.pipelines.model.grids import Grid, token_grid
from skipstone.pipelines.model.probes import model_input
from skipstone.schedules.published.codebooks import PUBLISHED, Codebook, measured, published
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant, drifting
from support.zoo import ZOO, Noise

VIDEOS = [
    name
    for name, species in ZOO.items()
    if isinstance(latents := species.inputs.get("hidden_states"), Noise) and len(latents.shape) == 5
    if latents.shape[1] != latents.shape[2]
]
"""The models of diffusers that take videos, neither packed nor with as many frames as channels."""
FAST = published("open-sora-30-fast")
FINE = Codebook(
    "fine", tuple((1e-5 * 1.05**n, 1 + n % 4) for n in range(400)), steps=30, motion_steps=(4, 26)
)
"""Gives almost every change a rate of its own, so that the decisions show its value."""
FOR_PAPER = Codebook("absolute", ((0.02, 6), (0.05, 4), (0.1, 2), (0.2, 1)), steps=30)


def trace(steps: int, seed: int = 0) -> torch.Tensor:
    """An attention's residual, ``(steps, batch, frames, positions, dim)``: fast, slow, and fast again."""
    generator = torch.Generator().manual_seed(seed)
    pace = torch.linspace(-1, 1, steps).square() * 0.6 + 0.02
    scene, frames = ((1, 1, 9, 5), (1, 4, 9, 5))
    moves = torch.randn(steps, *scene, generator=generator) * pace.reshape(-1, 1, 1, 1, 1)
    moves = moves + 0.1 * torch.randn(steps, *frames, generator=generator)
    still = torch.randn(scene, generator=generator) + 0.5 * torch.randn(frames, generator=generator)
    return still + 0.3 * moves.cumsum(0)


def decisions(method: AdaCache, attention: torch.Tensor) -> list[int]:
    """The steps that are computed."""
    state, computed = method.new_state(), []
    for index, residual in enumerate(attention):
        step = Step(index, len(attention), 0.0)
        if method.reason_to_compute(None, step, state) is not None:
            method.update(None, Outcome(attention=residual), step, state)
            computed.append(index)
    return computed


def rate_of(codebook: Codebook, change: float) -> int:
    for end, rate in codebook.levels:
        if change < end:
            return rate
    return codebook.levels[-1][1]


def by_the_code(x: np.ndarray, codebook: Codebook, moreg: tuple[int, int] | None) -> list[int]:
    """Forwards counted from 1, as the official code counts them."""
    total, computed, rate, last, previous, before = len(x), [], 1, 0, None, 1.0
    for n in range(1, total + 1):
        if n != last + rate and n not in (1, total - 1, total):
            continue
        now = x[n - 1]
        if previous is not None:
            change = np.abs(previous - now).sum() / np.abs(previous).sum() / rate
            if moreg is not None:
                g = 1.0
                if moreg[0] <= n <= moreg[1]:
                    a, b = now[:, 1:], now[:, :-1]
                    g = (np.abs(a - b).sum() / (np.abs(a).sum() + np.abs(b).sum()) / 0.385) ** 8
                grad, before = 10 * (g - before) / rate, g
                change *= g + abs(grad)
            rate = rate_of(codebook, change)
        previous, last = now, n
        computed.append(n - 1)
    return computed


def by_the_paper(x: np.ndarray, codebook: Codebook, moreg: bool) -> list[int]:
    """Equations 4 to 8, with mean norms."""
    computed, last, rate = [0], 0, 1
    motion = np.abs(x[0][:, 1:] - x[0][:, :-1]).mean()
    for t in range(1, len(x)):
        if t < last + rate:
            continue
        k = t - last
        change = np.abs(x[t] - x[last]).mean() / k
        if moreg:
            now = np.abs(x[t][:, 1:] - x[t][:, :-1]).mean()
            change, motion = change * (now + (now - motion) / k), now
        rate, last = rate_of(codebook, change), t
        computed.append(t)
    return computed


@pytest.mark.parametrize("steps", [30, 100])
@pytest.mark.parametrize("codebook", PUBLISHED, ids=str)
@pytest.mark.parametrize("motion", [False, True])
def test_decisions_are_those_of_the_official_code(steps: int, codebook: Codebook, motion: bool) -> None:
    x = trace(steps)
    for one in (codebook, FINE):
        made = decisions(AdaCache(one, motion=motion), x)
        window = tuple(step * steps / one.steps for step in one.motion_steps)
        assert made == by_the_code(x.double().numpy(), one, window if motion else None)
        assert len(made) < steps


@pytest.mark.parametrize("motion", [False, True])
def test_decisions_are_those_of_the_paper(motion: bool) -> None:
    x = trace(50)
    for codebook in (FOR_PAPER, FINE):
        made = decisions(AdaCache(codebook, motion=motion, rule="paper"), x)
        assert made == by_the_paper(x.double().numpy(), codebook, motion)
        assert 5 < len(made) < 45


def test_motion_changes_the_decisions() -> None:
    x = trace(30)
    plain, regularised = (decisions(AdaCache(FAST, motion=motion), x) for motion in (False, True))
    assert plain != regularised


def test_a_codebook_by_arithmetic() -> None:
    rates = [FAST.rate(change) for change in (0.0, 0.0799, 0.08, 0.39, 0.5, 7.0, float("nan"))]
    assert rates == [6, 6, 5, 2, 1, 1, 1]
    assert [FAST.regularises(index, 30) for index in (2, 3, 25, 26)] == [False, True, True, False]
    of_100 = published("open-sora-100-fast")
    assert [of_100.rate(change) for change in (0.02, 0.03, 7.0, float("inf"))] == [12, 10, 3, 1]


@pytest.mark.parametrize(
    ("levels", "says"), [((), "rise, got"), (((0.2, 1), (0.1, 2)), "rise, got"), (((0.1, 0),), "levels must")]
)
def test_a_codebook_that_makes_no_sense_is_refused(levels: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Codebook("mine", levels, steps=10)


def test_a_residual_that_is_not_finite_computes_until_it_is() -> None:
    attention = torch.ones(12, 1, 1, 2, 2)
    attention[1] = float("nan")
    method = AdaCache(Codebook("far", ((1.0, 20),), steps=12))
    state, reasons = method.new_state(), []
    for index, residual in enumerate(attention):
        step = Step(index, 12, 0.0)
        reasons.append(method.reason_to_compute(None, step, state))
        if reasons[-1] is not None:
            method.update(None, Outcome(attention=residual), step, state)
    not_finite = [Reason.NOT_FINITE] * 2
    assert reasons[:5] == [Reason.FIRST_STEP, Reason.INTERVAL, *not_finite, None]


def test_an_attention_that_cannot_be_read_computes() -> None:
    method = AdaCache("open-sora-30-fast")
    state, step = method.new_state(), Step(0, 9, 0.0)
    method.update(None, Outcome(), step, state)
    assert method.reason_to_compute(None, Step(1, 9, 0.0), state) is Reason.NO_PROBE


def test_without_a_codebook_it_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"skipstone\.fit_adacache.*open-sora-30-fast"):
        skipstone.attach(tiny.wan().pipe, "adacache")
    with pytest.raises(ValueError, match="unknown codebook 'fast'"):
        AdaCache("fast")


def test_motion_needs_frames() -> None:
    pipe = ToyPipeline(ToyModel())
    method = AdaCache("open-sora-30-fast", motion=True)
    with skipstone.attach(pipe, method), pytest.raises(ValueError, match="no frames that differ"):
        pipe(drifting(30))


def test_a_model_without_blocks_is_refused() -> None:
    plain = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="adacache looks at a middle block's attention"):
        skipstone.attach(ToyPipeline(plain), "adacache", codebook="open-sora-30-fast")


def test_a_wrapper_watches_for_the_method_in_it() -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, Warmup(AdaCache(FAST), steps=3)) as cache:
        pipe(constant(12))
    assert cache.last_run.strip == "###.....#.##"


def test_the_middle_block_is_that_of_the_longest_list() -> None:
    lists = [nn.ModuleList(nn.Identity() for _ in range(n)) for n in (2, 28, 28, 3)]
    assert middle_block(lists) == (2, 13)
    assert middle_block([nn.Linear(1, 1)]) is None


def test_what_is_watched_is_the_attention_of_the_middle_block_in_frames() -> None:
    pipe = tiny.wan()
    returned: list[torch.Tensor] = []
    attention = pipe.pipe.transformer.blocks[1].attn1
    hook = attention.register_forward_hook(lambda module, args, output: returned.append(output))
    seen: list[torch.Tensor] = []

    class Watcher(AdaCache):
        def update(self, probe: Any, outcome: Any, step: Any, state: Any) -> None:
            seen.append(outcome.attention)
            super().update(probe, outcome, step, state)

    with skipstone.attach(pipe.pipe, Watcher(Codebook("all", ((9.0, 1),), steps=8))):
        pipe(num_inference_steps=3)
    hook.remove()
    assert len(seen) == len(returned) == 6
    for framed, flat in zip(seen, returned, strict=True):
        assert framed.shape == (1, 2, 4, 24)
        assert torch.equal(framed.flatten(1, 2), flat)


def test_a_grid_knows_blocks_that_see_space_or_time_alone() -> None:
    grid = Grid(batch=2, frames=3, positions=4)
    tokens = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    for rows in (tokens.flatten(1, 2), tokens.flatten(0, 1), tokens.transpose(1, 2).flatten(0, 1)):
        assert torch.equal(grid.framed(rows), tokens)
    with_text = torch.cat([torch.zeros(2, 7, 5), tokens.flatten(1, 2)], dim=1)
    assert torch.equal(grid.framed(with_text), tokens)
    assert grid.framed(torch.zeros(2, 11, 5)).shape == (2, 1, 11, 5)
    assert Grid(batch=2, frames=1, positions=4).framed(torch.zeros(2, 11, 5)).shape == (2, 1, 11, 5)


@pytest.mark.parametrize(
    ("config", "shape", "told", "grid"),
    [({"patch_size": (1, 2, 2), "in_channels": 4}, (1, 4, 3, 8, 6), {}, (1, 3, 12)),
     ({"patch_size": 2, "patch_size_t": 2, "in_channels": 4}, (2, 4, 4, 8, 6), {}, (2, 2, 12)),
     ({"patch_size": 2, "in_channels": 4}, (2, 6, 4, 8, 6), {}, (2, 6, 12)),
     ({"patch_size": 2}, (1, 4, 8, 6), {}, (1, 1, 12)),
     ({"patch_size": (1, 2, 2), "in_visual_dim": 4}, (1, 3, 8, 6, 9), {}, (1, 3, 12)),
     ({"patch_size": 2}, (3, 4), {}, (3, 1, 1)),
     ({"patch_size": 2}, (1, 2, 4, 1, 2, 2), {}, (1, 4, 4)),
     ({}, (1, 24, 8), {}, (1, 1, 24)),
     ({}, (1, 24, 8), {"num_frames": 2, "height": 3, "width": 4}, (1, 2, 12))],
)  # fmt: skip
def test_the_grid_of_latents_in_patches(config: Any, shape: Any, told: Any, grid: Any) -> None:
    class Model(nn.Module):
        def forward(self, hidden_states: Any, **kwargs: Any) -> None: ...

    model = Model()
    model.config = diffusers.configuration_utils.FrozenDict(config)
    assert token_grid(model, (torch.zeros(shape),), told) == Grid(*grid)


@pytest.mark.parametrize("name", VIDEOS)
def test_the_last_tokens_are_those_that_change_with_the_last_frame(name: str) -> None:
    """In the stream that enters the first block."""
    model, given = ZOO[name].model(), ZOO[name].call()
    grid = token_grid(model, (), given)
    assert grid is not None
    before, after = (
        grid.framed(stream_into_blocks(model, one, grid)) for one in (given, last_frame_moved(model, given))
    )
    changed = (before != after).any(dim=-1)
    assert changed.shape[1] == grid.frames > 1
    assert changed[:, -1].all()
    assert not changed[:, 0].any()


def stream_into_blocks(model: Any, inputs: Any, grid: Grid) -> torch.Tensor:
    """The first stream with as many tokens as the sample that enters a list of blocks."""
    seen: list[torch.Tensor] = []

    def look(block: Any, args: Any, kwargs: Any) -> None:
        stream = Call((0, 0), block, args, kwargs).main()
        if stream.shape[:-1].numel() >= grid.batch * grid.frames * grid.positions:
            seen.append(stream)

    for blocks in block_lists(model).values():
        blocks[0].register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    return seen[0]


def last_frame_moved(model: Any, given: Any) -> Any:
    latents = given["hidden_states"]
    numbered = {**given, "hidden_states": torch.arange(float(latents.numel())).reshape(latents.shape)}
    places = model_input(model, (), numbered)[:, :, -1].flatten().long()  # type: ignore[index]
    moved = latents.flatten().index_add(0, places, torch.ones(len(places))).reshape(latents.shape)
    return {**given, "hidden_states": moved}


def test_a_measured_codebook_cuts_the_range_into_equal_levels() -> None:
    codebook = measured([0.1, 0.4, 0.7, 0.2], [0.2, 0.4], steps=40)
    assert [rate for _, rate in codebook.levels] == [6, 5, 4, 3, 2, 1]
    assert [end for end, _ in codebook.levels] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert codebook.motion == pytest.approx(0.3)
    assert codebook.motion_steps == (5, 35)
    assert measured([0.1, 0.2], [], steps=90).levels[0][1] == 12
    with pytest.raises(ValueError, match="must differ"):
        measured([0.1, 0.1], [], steps=40)


def test_fitting_measures_the_models_own_changes() -> None:
    """The middle block is given 2, 2.2, 2.4, ...: the first change is a tenth, the last one 0.1 / 1.9."""
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad():
        method = skipstone.fit_adacache(pipe, drifting(11))
    assert isinstance(method.codebook, Codebook)
    least, most = 0.1 / 1.9, 0.1
    ends = [least + (most - least) * n / 6 for n in range(1, 7)]
    assert [end for end, _ in method.codebook.levels] == pytest.approx(ends)
    assert method.codebook.name == "measured on 11 steps"


def test_fitting_works_on_a_real_class_and_leaves_it_alone() -> None:
    pipe = tiny.wan()
    bare = pipe(num_inference_steps=30)
    kwargs = {**pipe.kwargs, "num_inference_steps": 30, "output_type": "latent"}
    method = skipstone.fit_adacache(pipe.pipe, **kwargs)
    assert torch.equal(pipe(num_inference_steps=30), bare)
    regularised = AdaCache(method.codebook, motion=True)
    for one in (method, regularised):
        with skipstone.attach(pipe.pipe, one) as cache:
            pipe(num_inference_steps=30)
        assert 0 < cache.last_run.skipped < 60
    assert isinstance(pipe.pipe.scheduler, diffusers.FlowMatchEulerDiscreteScheduler)


def test_a_run_too_short_to_fit_says_so() -> None:
    with pytest.raises(ValueError, match="at least three steps"), torch.no_grad():
        skipstone.fit_adacache(ToyPipeline(ToyModel()), constant(2))
