"""The same rules as diffusers has them, on a tiny Wan pipeline: what is computed, and what comes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

import skipstone
import tiny
from skipstone import FORA, Cacher, FirstBlock, MagCache, RunCap, SeaCache, Taylor, Warmup, WithPredictor

STEPS = 24
RATIOS = [1.0, *(1 - 0.1 * (n / STEPS) ** 2 for n in range(1, STEPS))]


def needs(name: str) -> Any:
    return pytest.mark.skipif(not hasattr(diffusers, name), reason=f"this diffusers has no {name}")


@pytest.fixture
def pipe() -> tiny.Tiny:
    made = tiny.wan()
    made.kwargs["num_inference_steps"] = STEPS
    return made


@contextmanager
def computed(model: Any) -> Iterator[list[bool]]:
    """For each evaluation, whether it ran the attention of the model's last block."""
    made: list[bool] = []
    hooks = [
        model.register_forward_pre_hook(lambda *_: made.append(False)),
        model.blocks[-1].attn1.to_q.register_forward_hook(lambda *_: made.__setitem__(-1, True)),
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
    with computed(pipe.pipe.transformer) as made, skipstone.attach(pipe.pipe, method) as cache:
        output = pipe()
    assert sum(made) == cache.last_run.computed
    return made, output


def assert_alike(pipe: tiny.Tiny, config: Any, method: Cacher[Any], outputs: bool = True) -> None:
    (their_steps, their_output), (our_steps, our_output) = theirs(pipe, config), ours(pipe, method)
    assert our_steps == their_steps
    assert 0 < sum(our_steps) < len(our_steps) == 2 * STEPS
    if outputs:
        torch.testing.assert_close(our_output, their_output, rtol=1e-3, atol=1e-4)


@needs("FirstBlockCacheConfig")
@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.6, 1.0])
def test_first_block(pipe: tiny.Tiny, threshold: float) -> None:
    assert_alike(pipe, diffusers.FirstBlockCacheConfig(threshold), FirstBlock(threshold))


@needs("MagCacheConfig")
@pytest.mark.parametrize(("threshold", "cap"), [(0.06, 3), (0.12, 2), (0.3, 9)])
def test_magcache(pipe: tiny.Tiny, threshold: float, cap: int) -> None:
    config = diffusers.MagCacheConfig(threshold, cap, 0.25, STEPS, RATIOS)
    assert_alike(pipe, config, MagCache(threshold, cap, 0.25, tuple(RATIOS)))


@needs("SeaCacheConfig")
@pytest.mark.parametrize(
    ("threshold", "order", "cap"), [(0.1, 0, 2), (0.25, 0, 2), (0.25, 1, 2), (0.5, 1, 4)]
)
def test_seacache(pipe: tiny.Tiny, threshold: float, order: int, cap: int) -> None:
    config = diffusers.SeaCacheConfig(threshold, residual_order=order, max_consecutive_cached=cap)
    assert_alike(pipe, config, RunCap(WithPredictor(SeaCache(threshold), Taylor(order)), cap))


@needs("TaylorSeerCacheConfig")
@pytest.mark.parametrize(("interval", "warmup"), [(4, 3), (3, 5), (6, 5)])
def test_taylorseer(pipe: tiny.Tiny, interval: int, warmup: int) -> None:
    """The steps are the same. The estimates are not: theirs are of each block's output, ours of the residual.

    Their interval is counted from one step after the warm-up, hence the numbers. Without the names of the
    blocks theirs does nothing on Wan: it looks for layers called ``attn``.
    """
    config = diffusers.TaylorSeerCacheConfig(
        interval, warmup, max_order=1, cache_identifiers=[r"blocks\.\d+"]
    )
    method = WithPredictor(Warmup(FORA(interval), warmup), Taylor(order=1))
    assert_alike(pipe, config, method, outputs=False)
