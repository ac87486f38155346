"""Block Caching and SmoothCache: schedules against the papers' rules worked out again, and measuring."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone import FORA, BlockCaching, SmoothCache, StepMask, Warmup
from skipstone.cachers import block_caching, smoothcache
from skipstone.cachers.contract.words import ATTENTION, Layer, LayerKind
from skipstone.pipelines.clips import clip as clips
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant, drifting
from support.unets import UNETS, made
from support.unets import run as run_unet

STEPS = 30


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def course(seed: int = 0) -> list[float]:
    """Changes that are large, small, and large again."""
    random = np.random.default_rng(seed)
    return (np.linspace(-1, 1, STEPS - 1) ** 2 * 0.3 + 0.1 * random.random(STEPS - 1)).tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 2.0])
def test_blocks_are_computed_by_the_sum_of_their_changes(threshold: float) -> None:
    """From a computed step on, the cache is kept as long as the sum is within the threshold."""
    changes, computed, a = course(), [0], 0
    while True:
        sums = [(b, sum(changes[a:b])) for b in range(a + 1, STEPS)]
        a = next((b for b, total in sums if total > threshold), STEPS)
        if a == STEPS:
            break
        computed.append(a)
    made = block_caching.schedule(changes, threshold)
    assert [n for n, one in enumerate(made) if one] == computed
    assert len(made) == STEPS
    assert (len(computed) == STEPS) == (threshold == 0.0)


def test_a_sum_at_the_threshold_is_not_beyond_it() -> None:
    assert block_caching.schedule((0.25, 0.25, 0.5), 0.5) == (True, False, False, True)
    assert smoothcache.schedule([(0.25, 0.5, 0.25)], 0.25) == (True, False, True, True)


@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.3, 0.8])
@pytest.mark.parametrize("lookahead", [1, 3, 5])
def test_layers_are_skipped_as_far_as_their_changes_allow(threshold: float, lookahead: int) -> None:
    position = np.concatenate([[0.0], np.cumsum(course())])
    errors = [
        [float(position[n + lag] - position[n]) for n in range(STEPS - lag)]
        for lag in range(1, lookahead + 1)
    ]
    expected, n = np.zeros(STEPS, dtype=bool), 0
    while n < STEPS:
        expected[n] = True
        skips = 0
        for k in range(1, lookahead + 1):
            if n + k < STEPS and position[n + k] - position[n] <= threshold:
                skips = k
        n += skips + 1
    expected[-1] = True
    assert list(smoothcache.schedule(errors, threshold)) == expected.tolist()


def test_a_jump_over_a_change_is_allowed_where_the_way_back_is_short() -> None:
    """What counts is the change over the whole skip: here it is small over two steps, and large over one."""
    errors = [[0.9, 0.9, 0.9, 0.9], [0.1, 0.9, 0.9]]
    assert smoothcache.schedule(errors, 0.2) == (True, False, False, True, True)


def test_a_toys_blocks_are_measured_and_cached() -> None:
    """Each block adds a ``temb`` of 1.0, 1.1, ...: its residual changes by 0.1 of what it is then."""
    pipe = ToyPipeline(ToyModel())
    method = skipstone.fit_block_caching(pipe, [drifting(6), drifting(6)], threshold=0.2)
    expected = [0.1 / (1 + 0.1 * n) for n in range(1, 6)]
    assert method.changes is not None
    assert list(method.changes) == ["blocks.0", "blocks.1", "blocks.2"]
    assert all(list(changes) == pytest.approx(expected, rel=1e-4) for changes in method.changes.values())
    with skipstone.attach(pipe, method) as cache:
        outputs = pipe(drifting(6))
    # 0.091 and 0.083 and 0.077 are more than 0.2, and so are 0.071, 0.067 and what would follow.
    assert cache.last_run.strip == "#++#++"
    kept = [0, 0, 0, 3, 3, 3]
    for n, output in enumerate(outputs):
        wanted = (1 + 0.1 * n) + 6 * (1 + 0.1 * kept[n])
        torch.testing.assert_close(output, torch.full_like(output, wanted))


def test_every_block_has_a_schedule_of_its_own() -> None:
    changes = {"blocks.0": (0.3,) * 5, "blocks.1": (0.0,) * 5, "blocks.2": (0.1,) * 5}
    model = ToyModel()
    pipe = ToyPipeline(model)
    with skipstone.attach(pipe, BlockCaching(0.25, changes)) as cache:
        pipe(constant(6))
    assert model.block_calls == [6, 1, 2]
    assert cache.last_run.parts == {"block": {"computed": 9, "skipped": 9}}


@pytest.mark.parametrize("make", tiny.PIPELINES.values(), ids=tiny.PIPELINES)
@pytest.mark.parametrize("fit", [skipstone.fit_block_caching, skipstone.fit_smoothcache])
def test_measuring_works_on_real_classes_and_leaves_them_alone(fit: Any, make: Any) -> None:
    pipe = make()
    bare = pipe()
    kwargs = {**pipe.kwargs, "output_type": "latent"}
    strict, lenient = (fit(pipe.pipe, [None], threshold=value, **kwargs) for value in (0.0, 1e9))
    assert torch.equal(pipe(), bare)
    with skipstone.attach(pipe.pipe, strict) as cache:
        assert torch.equal(pipe(), bare)
    assert cache.last_run.strip == "########"
    with skipstone.attach(pipe.pipe, lenient) as cache:
        pipe()
    assert cache.last_run.strip == {"block-caching": "#+++++++", "smoothcache": "#+++#++#"}[lenient.name]


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("fit", [skipstone.fit_block_caching, skipstone.fit_smoothcache])
def test_the_transformer_blocks_of_a_unet_are_measured_and_skipped(fit: Any, name: str) -> None:
    pipe = ToyPipeline(made(name))
    method = fit(Runs(pipe, name), [None], threshold=1e9)
    with skipstone.attach(pipe, method) as cache:
        run_unet(pipe, name)
    assert "+" in cache.last_run.strip


class Runs:
    """A pipeline whose call runs a UNet of the tests."""

    def __init__(self, pipe: Any, name: str) -> None:
        self._pipe, self._name = pipe, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def __call__(self, prompt: Any) -> Any:
        return run_unet(self._pipe, self._name)


def test_wan_has_three_kinds_of_layers_and_each_its_schedule() -> None:
    pipe = tiny.wan()
    method = skipstone.fit_smoothcache(pipe.pipe, [None], **{**pipe.kwargs, "output_type": "latent"})
    assert method.errors is not None
    assert set(method.errors) == {
        LayerKind.SELF_ATTENTION, LayerKind.CROSS_ATTENTION, LayerKind.FEED_FORWARD
    }  # fmt: skip
    assert [[len(row) for row in rows] for rows in method.errors.values()] == [[7, 6, 5]] * 3
    still = {LayerKind.FEED_FORWARD: ((0.0,) * 7,)}
    with skipstone.attach(pipe.pipe, SmoothCache(0.1, still)) as cache:
        pipe()
    assert cache.last_run.parts == {"feed forward": {"computed": 5 * 6, "skipped": 3 * 6}}


@pytest.mark.parametrize("method", [BlockCaching, SmoothCache])
def test_without_measurements_it_says_how_to_make_them(method: Any) -> None:
    with pytest.raises(ValueError, match=rf"skipstone\.fit_{method.name.replace('-', '_')}\(pipe, prompts\)"):
        skipstone.attach(tiny.wan().pipe, method.name)
    with pytest.raises(ValueError, match="threshold must be"):
        method(-1.0)


@pytest.mark.parametrize(
    ("changes", "steps", "says"),
    [({"blocks.0": (0.1,) * 4}, 5, "no changes were measured for blocks.1"),
     ({f"blocks.{n}": (0.1,) * 4 for n in range(3)}, 6, "measured on 5 steps, but the run has 6")],
)  # fmt: skip
def test_measurements_of_another_model_or_run_are_refused(
    changes: Mapping[str, Any], steps: int, says: str
) -> None:
    pipe = ToyPipeline(ToyModel())
    with skipstone.attach(pipe, BlockCaching(0.5, changes)), pytest.raises(ValueError, match=says):
        pipe(constant(steps))


KINDS = {LayerKind.FEED_FORWARD: ((0.1,) * 11, (0.2,) * 10)}


@pytest.mark.parametrize(
    ("method", "steps"),
    [(FORA(2), clips.WARM_UP_STEPS), (BlockCaching(0.5, {"a": (0.1,) * 19}), 20),
     (Warmup(SmoothCache(0.5, KINDS), steps=2), 12), (StepMask(FORA(2), "##.#.#"), 6)],
)  # fmt: skip
def test_what_is_for_so_many_steps_is_warmed_up_on_as_many(
    method: Any, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(clips, "attached", lambda pipe, method: nullcontext())
    monkeypatch.setattr(clips, "make_clip", lambda pipe, given, *_: seen.append(given["num_inference_steps"]))
    clips.warm_up(None, {"num_inference_steps": 50}, method)
    assert seen == [steps]


def test_measuring_needs_prompts() -> None:
    pipe = ToyPipeline(ToyModel())
    with pytest.raises(TypeError, match="a string is one prompt"):
        skipstone.fit_block_caching(pipe, "a red apple")
    with pytest.raises(ValueError, match="at least one prompt"):
        skipstone.fit_block_caching(pipe, [])
    with pytest.raises(ValueError, match="lookahead"):
        skipstone.fit_smoothcache(pipe, [constant(4)], lookahead=0)


def test_a_layer_of_an_unmeasured_kind_runs() -> None:
    method = SmoothCache(0.1, {LayerKind.FEED_FORWARD: ((0.0,),)})
    assert method.for_layer(Layer(LayerKind.SELF_ATTENTION, "blocks.0.attn", 0, 1)) is None
    assert SmoothCache(0.1).layer_kinds == ATTENTION | {LayerKind.FEED_FORWARD}
