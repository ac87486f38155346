"""The same rules as diffusers and cache-dit have them, in one process: what is computed, and what comes out.

On a tiny Wan pipeline with random weights, and on the video model that comes with skipstone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import (
    FORA,
    Cacher,
    DBCache,
    FirstBlock,
    MagCache,
    RunCap,
    SeaCache,
    StepMask,
    Taylor,
    Warmup,
    WithPredictor,
)
from support import tiny


def needs(name: str) -> Any:
    return pytest.mark.skipif(not hasattr(diffusers, name), reason=f"this diffusers has no {name}")


@pytest.fixture
def random() -> tiny.Tiny:
    made = tiny.wan()
    made.kwargs["num_inference_steps"] = 24
    return made


@pytest.fixture(scope="module")
def pebble() -> tiny.Tiny:
    """Trained, and run on clips that are small enough for a test."""
    pipe = skipstone.load("pebble-video")
    pipe.set_progress_bar_config(disable=True)
    size = {"height": 64, "width": 64, "num_frames": 5, "max_sequence_length": 32}
    run = {"num_inference_steps": 12, "guidance_scale": 4.0}
    return tiny.Tiny(pipe, {"prompt": "a red apple bouncing on a blue background", **size, **run})


@pytest.fixture
def pipe(request: pytest.FixtureRequest) -> Any:
    """The pipeline that a test's parameters name."""
    return request.getfixturevalue(request.param)


@contextmanager
def computed(model: Any, tail: int = 0) -> Iterator[list[bool]]:
    """For each evaluation, whether it ran the attention of the last block before those of the tail."""
    made: list[bool] = []
    hooks = [
        model.register_forward_pre_hook(lambda *_: made.append(False)),
        model.blocks[-1 - tail].attn1.to_q.register_forward_hook(lambda *_: made.__setitem__(-1, True)),
    ]
    try:
        yield made
    finally:
        for hook in hooks:
            hook.remove()


def theirs(pipe: tiny.Tiny, config: Any) -> tuple[list[bool], Tensor]:
    model = pipe.pipe.transformer
    model.enable_cache(config)
    try:
        with computed(model) as made:
            output = pipe()
    finally:
        model.disable_cache()
    return made, output


def ours(pipe: tiny.Tiny, method: Cacher[Any]) -> tuple[list[bool], Tensor]:
    with (
        computed(pipe.pipe.transformer, method.tail_blocks) as made,
        skipstone.attach(pipe.pipe, method) as cache,
    ):
        output = pipe()
    assert sum(made) == cache.last_run.computed
    return made, output


def assert_same_steps(
    pipe: tiny.Tiny, peer: tuple[list[bool], Tensor], own: tuple[list[bool], Tensor]
) -> None:
    assert own[0] == peer[0]
    assert 0 < sum(own[0]) < len(own[0]) == 2 * pipe.kwargs["num_inference_steps"]


def assert_alike(pipe: tiny.Tiny, peer: tuple[list[bool], Tensor], own: tuple[list[bool], Tensor]) -> None:
    assert_same_steps(pipe, peer, own)
    torch.testing.assert_close(own[1], peer[1], rtol=1e-3, atol=1e-4)


@needs("FirstBlockCacheConfig")
@pytest.mark.parametrize(
    ("pipe", "threshold"),
    [("random", 0.3), ("random", 0.4), ("random", 0.6), ("random", 1.0), ("pebble", 0.2)],
    indirect=["pipe"],
)
def test_first_block(pipe: tiny.Tiny, threshold: float) -> None:
    config = diffusers.FirstBlockCacheConfig(threshold)
    assert_alike(pipe, theirs(pipe, config), ours(pipe, FirstBlock(threshold)))


@needs("MagCacheConfig")
@pytest.mark.parametrize(
    ("pipe", "threshold", "cap"),
    [("random", 0.06, 3), ("random", 0.12, 2), ("random", 0.3, 9), ("pebble", 0.12, 2)],
    indirect=["pipe"],
)
def test_magcache(pipe: tiny.Tiny, threshold: float, cap: int) -> None:
    steps = pipe.kwargs["num_inference_steps"]
    ratios = [1.0, *(1 - 0.1 * (n / steps) ** 2 for n in range(1, steps))]
    config = diffusers.MagCacheConfig(threshold, cap, 0.25, steps, ratios)
    assert_alike(pipe, theirs(pipe, config), ours(pipe, MagCache(threshold, cap, 0.25, tuple(ratios))))


@needs("SeaCacheConfig")
@pytest.mark.parametrize(
    ("pipe", "threshold", "order", "cap"),
    [("random", 0.1, 0, 2), ("random", 0.25, 0, 2), ("random", 0.25, 1, 2), ("random", 0.5, 1, 4),
     ("pebble", 0.25, 1, 2)],
    indirect=["pipe"],
)  # fmt: skip
def test_seacache(pipe: tiny.Tiny, threshold: float, order: int, cap: int) -> None:
    config = diffusers.SeaCacheConfig(threshold, residual_order=order, max_consecutive_cached=cap)
    method = RunCap(WithPredictor(SeaCache(threshold), Taylor(order)), cap)
    assert_alike(pipe, theirs(pipe, config), ours(pipe, method))


@needs("TaylorSeerCacheConfig")
@pytest.mark.parametrize(
    ("pipe", "interval", "warmup"),
    [("random", 4, 3), ("random", 3, 5), ("random", 6, 5), ("pebble", 4, 3)],
    indirect=["pipe"],
)
def test_taylorseer(pipe: tiny.Tiny, interval: int, warmup: int) -> None:
    """The steps are the same. The estimates are not: theirs are of each block's output, ours of the residual.

    Their interval is counted from one step after the warm-up, hence the numbers. Without the names of the
    blocks theirs does nothing on Wan: it looks for layers called ``attn``.
    """
    config = diffusers.TaylorSeerCacheConfig(
        interval, warmup, max_order=1, cache_identifiers=[r"blocks\.\d+"]
    )
    method = WithPredictor(Warmup(FORA(interval), warmup), Taylor(order=1))
    assert_same_steps(pipe, theirs(pipe, config), ours(pipe, method))


def cache_dits(pipe: tiny.Tiny, tail: int, order: int | None, settings: Any) -> tuple[list[bool], Tensor]:
    cache_dit = pytest.importorskip("cache_dit")
    config = cache_dit.DBCacheConfig(Bn_compute_blocks=tail, **settings)
    taylor = None if order is None else cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=order)
    cache_dit.enable_cache(pipe.pipe, cache_config=config, calibrator_config=taylor)
    try:
        with computed(pipe.pipe.transformer, tail) as made:
            output = pipe()
    finally:
        cache_dit.disable_cache(pipe.pipe)
    return made, output


@pytest.mark.parametrize(
    ("threshold", "head", "tail", "warmup", "cap"),
    [(0.3, 1, 0, 4, 2), (0.15, 2, 0, 2, None), (0.15, 1, 1, 4, None)],
)
def test_dbcache_of_cache_dit(
    pebble: tiny.Tiny, threshold: float, head: int, tail: int, warmup: int, cap: int | None
) -> None:
    settings = {
        "Fn_compute_blocks": head,
        "max_warmup_steps": warmup,
        "residual_diff_threshold": threshold,
        "max_continuous_cached_steps": cap or -1,
    }
    method = DBCache(threshold, head, warmup, cap, tail)
    assert_alike(pebble, cache_dits(pebble, tail, None, settings), ours(pebble, method))


@pytest.mark.parametrize("order", [1, 2])
def test_taylorseer_of_cache_dit(pebble: tiny.Tiny, order: int) -> None:
    """The steps are the same. So are the estimates of order 1; order 2 differs, see `Taylor`.

    With fewer than four computed steps before the first skip theirs would only reuse.
    """
    settings = {
        "Fn_compute_blocks": 1,
        "max_warmup_steps": 4,
        "residual_diff_threshold": 9.0,
        "max_continuous_cached_steps": 2,
    }
    method = WithPredictor(DBCache(9.0, 1, 4, 2), Taylor(order))
    results = cache_dits(pebble, 0, order, settings), ours(pebble, method)
    (assert_alike if order == 1 else assert_same_steps)(pebble, *results)


def test_step_mask_of_cache_dit(pebble: tiny.Tiny) -> None:
    mask = [1, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1]
    settings = {
        "Fn_compute_blocks": 1,
        "max_warmup_steps": 0,
        "steps_computation_mask": mask,
        "steps_computation_policy": "static",
    }
    method = StepMask(DBCache(1e9, 1, 0), "".join(".#"[one] for one in mask))
    assert_alike(pebble, cache_dits(pebble, 0, None, settings), ours(pebble, method))
