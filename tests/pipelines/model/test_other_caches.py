"""Caches of others on a model are found by where they come from; what only moves weights is left alone."""

import functools
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

import skipstone
from skipstone.pipelines.model.other_caches import forwards, other_caches
from support import tiny
from support.offloading import on_any_device

EVERY: dict[str, Callable[[Any], Any]] = {
    "FirstBlockCacheConfig": lambda pipe: diffusers.FirstBlockCacheConfig(threshold=0.5),
    "MagCacheConfig": lambda pipe: diffusers.MagCacheConfig(0.1, 2, 0.25, 8, [1.0] * 8),
    "TaylorSeerCacheConfig": lambda pipe: diffusers.TaylorSeerCacheConfig(cache_identifiers=[r"blocks\.\d+"]),
    "SeaCacheConfig": lambda pipe: diffusers.SeaCacheConfig(0.2),
    "PyramidAttentionBroadcastConfig": lambda pipe: diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: pipe.current_timestep
    ),
    "FasterCacheConfig": lambda pipe: diffusers.FasterCacheConfig(
        current_timestep_callback=lambda: pipe.current_timestep
    ),
}
CONFIGS = {name: make for name, make in EVERY.items() if hasattr(diffusers, name)}
"""Those that this diffusers has."""


@pytest.fixture
def pipe() -> Any:
    return tiny.wan().pipe


@pytest.mark.parametrize("name", CONFIGS)
def test_caches_of_diffusers_are_refused_until_they_are_off(pipe: Any, name: str) -> None:
    pipe.transformer.enable_cache(CONFIGS[name](pipe))
    with pytest.raises(ValueError, match=f"another cache already: diffusers' {name}, .*disable_cache"):
        skipstone.attach(pipe, "fora")
    pipe.transformer.disable_cache()
    skipstone.attach(pipe, "fora").remove()


@pytest.mark.parametrize("name", ["first_block_cache", "pyramid_attention_broadcast", "faster_cache"])
def test_hooks_that_were_applied_directly_are_named_and_so_is_the_way_to_take_them_off(
    pipe: Any, name: str
) -> None:
    module = pytest.importorskip(f"diffusers.hooks.{name}")
    config = next(make for key, make in CONFIGS.items() if hasattr(module, key))
    getattr(module, f"apply_{name}")(pipe.transformer, config(pipe))
    found = other_caches(pipe.transformer)
    assert found
    for words in found:
        assert words.startswith(f"diffusers.hooks.{name}.")
        take_off = words.partition("which ")[2].removesuffix(" switches off")
        eval(take_off, {"HookRegistry": diffusers.hooks.HookRegistry, "model": pipe.transformer})
    assert not other_caches(pipe.transformer)


def test_cache_dit_is_refused_until_it_is_off(pipe: Any) -> None:
    cache_dit = pytest.importorskip("cache_dit")
    cache_dit.enable_cache(pipe, cache_config=cache_dit.DBCacheConfig())
    with pytest.raises(ValueError, match=r"cache_dit\.disable_cache\(pipe\) switches off"):
        skipstone.attach(pipe, "fora")
    cache_dit.disable_cache(pipe)
    skipstone.attach(pipe, "fora").remove()


def named(name: str) -> Any:
    """A function that stands in for ``forward``, written in a program of its own."""
    scope: dict[str, Any] = {"__name__": "program"}
    exec(f"def {name}(original, *args, **kwargs): return original(*args, **kwargs)", scope)
    return scope[name]


def in_the_class(model: Any, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model), "forward", function)


def in_the_model(model: Any, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    model.forward = functools.update_wrapper(functools.partial(function, model.forward), model.forward)


def in_a_block(model: Any, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    model.blocks[1].attn1.forward = functools.partial(function, model.blocks[1].attn1.forward)


@pytest.mark.parametrize("put", [in_the_class, in_the_model, in_a_block])
@pytest.mark.parametrize(
    ("name", "found"), [("teacache_forward", 1), ("CachedForward", 1), ("timed_forward", 0)]
)
def test_functions_that_stand_in_for_forward_are_told_by_their_names(
    pipe: Any, put: Any, name: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(pipe.transformer, named(name), monkeypatch)
    assert len(words := other_caches(pipe.transformer)) == found
    assert all(f"program.{name}" in word for word in words)


def test_hooks_on_top_do_not_hide_a_cache(pipe: Any) -> None:
    hooks = pytest.importorskip("accelerate.hooks")
    in_the_model(pipe.transformer, named("teacache_forward"), pytest.MonkeyPatch())
    hooks.add_hook_to_module(pipe.transformer, hooks.AlignDevicesHook("cpu"))
    pipe.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    assert len(other_caches(pipe.transformer)) == 1


def cast(model: Any) -> None:
    model.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)


def move(model: Any) -> None:
    model.enable_group_offload(torch.device("cpu"), torch.device("cpu"), "leaf_level")


def hook(model: Any) -> None:
    hooks = pytest.importorskip("accelerate.hooks")
    for part in model.modules():
        hooks.add_hook_to_module(part, hooks.AlignDevicesHook("cpu"))


def leave_out(model: Any) -> None:
    diffusers.hooks.apply_layer_skip(model, diffusers.LayerSkipConfig([1], skip_attention=False))


@pytest.mark.parametrize("change", [cast, pytest.param(move, marks=on_any_device), hook, leave_out])
def test_what_does_not_cache_is_left_alone(pipe: Any, change: Callable[[nn.Module], None]) -> None:
    change(pipe.transformer)
    assert not other_caches(pipe.transformer)


def test_our_own_cache_is_no_other_one(pipe: Any) -> None:
    with skipstone.attach(pipe, "fora"):
        assert not other_caches(pipe.transformer)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_that_is_switched_on_later_is_a_new_sign(pipe: Any, name: str) -> None:
    sign = forwards(pipe.transformer)
    before = sign()
    assert sign() == before
    pipe.transformer.enable_cache(CONFIGS[name](pipe))
    assert sign() != before
    pipe.transformer.disable_cache()
    assert sign()[1:] == before[1:]


def test_from_the_step_on_that_another_cache_is_there_all_is_computed() -> None:
    def switch_on(pipe: Any, index: int, *rest: Any) -> Any:
        if index == 3:
            pipe.transformer.enable_cache(CONFIGS["FirstBlockCacheConfig"](pipe))
        return {}

    run = tiny.wan()
    with skipstone.attach(run.pipe, "fora", interval=1000) as cache:
        run(callback_on_step_end=switch_on)
    assert cache.last_run.strip == "#...####"
    assert "FirstBlockCacheConfig" in cache.last_run.notes[0]


@pytest.mark.parametrize("put", [in_the_model, in_a_block])
def test_a_function_that_stands_in_later_is_a_new_sign(
    pipe: Any, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (sign := forwards(pipe.transformer))()
    put(pipe.transformer, named("teacache_forward"), monkeypatch)
    assert sign() != before
