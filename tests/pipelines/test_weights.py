"""Weights that change, or are kept in other numbers, under an attached cache."""

from typing import Any

import pytest
import torch

import skipstone
from support import tiny
from support.adapters import lora

LENIENT: dict[str, Any] = {"first-block": {"threshold": 1e9}, "teacache": {"threshold": 1e9}}
every_method = pytest.mark.parametrize("method", LENIENT)


def fresh(pipe: tiny.Tiny, method: str) -> torch.Tensor:
    """What a newly attached cache gives."""
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]):
        return pipe()


@every_method
@pytest.mark.parametrize("attached_first", [False, True], ids=["cast first", "attached first"])
def test_weights_stored_in_eight_bits(method: str, attached_first: bool) -> None:
    def cast(pipe: tiny.Tiny) -> None:
        pipe.pipe.transformer.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32
        )

    cast(pipe := tiny.wan())
    bare, expected = pipe(), fresh(pipe, method)
    if attached_first:
        pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]) as cache:
        if attached_first:
            cast(pipe)
        assert torch.equal(pipe(), expected)
    assert cache.last_run.skipped > 0
    assert torch.equal(pipe(), bare)


@every_method
def test_another_dtype_after_attaching(method: str) -> None:
    expected_pipe = tiny.wan()
    expected_pipe.pipe.to(torch.bfloat16)
    given = {name: value.bfloat16() for name, value in expected_pipe.kwargs.items() if torch.is_tensor(value)}
    expected_pipe.kwargs.update(given)
    expected = fresh(expected_pipe, method)
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]) as cache:
        pipe()
        pipe.pipe.to(torch.bfloat16)
        pipe.kwargs.update(given)
        assert torch.equal(pipe(), expected)
    assert cache.last_run.skipped > 0


@every_method
def test_weights_changed_between_two_runs(method: str) -> None:
    """As LoRA does when it is fused, rescaled and unfused."""
    pipe = tiny.wan()
    weight = pipe.pipe.transformer.blocks[1].ffn.net[2].weight
    original = weight.detach().clone()
    first = fresh(pipe, method)
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]):
        pipe()
        weight.data += 0.1
        changed = pipe()
        weight.data = original
        assert torch.equal(pipe(), first)
    weight.data = original + 0.1
    assert torch.equal(changed, fresh(pipe, method))
    assert not torch.equal(changed, first)


@every_method
def test_inference_mode(method: str) -> None:
    pipe = tiny.wan()
    expected = fresh(pipe, method)
    with torch.inference_mode(), skipstone.attach(pipe.pipe, method, **LENIENT[method]) as cache:
        assert torch.equal(pipe(), expected)
    assert cache.last_run.skipped > 0


def test_a_tiled_decoder() -> None:
    pipe = tiny.wan()
    bare = pipe(output_type="pt")
    with skipstone.attach(pipe.pipe, "teacache", threshold=0.0):
        pipe.pipe.vae.enable_tiling()
        assert torch.equal(pipe(output_type="pt"), bare)


@every_method
@pytest.mark.parametrize("attached_first", [False, True], ids=["loaded first", "attached first"])
def test_adapters_loaded_rescaled_swapped_and_unloaded(method: str, attached_first: bool) -> None:
    pytest.importorskip("peft", reason="adapters need peft")
    base = fresh(tiny.wan(), method)

    def expected(seed: int, scale: float = 1.0) -> torch.Tensor:
        lora(pipe := tiny.wan(), seed, "style")
        pipe.pipe.transformer.set_adapters("style", scale)
        return fresh(pipe, method)

    pipe = tiny.wan()
    if not attached_first:
        lora(pipe, 1, "style")
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]):
        if attached_first:
            assert torch.equal(pipe(), base)
            lora(pipe, 1, "style")
        assert torch.equal(pipe(), expected(1))
        pipe.pipe.transformer.set_adapters("style", 0.5)
        assert torch.equal(pipe(), expected(1, 0.5))
        pipe.pipe.transformer.set_adapters("style", 1.0)
        lora(pipe, 2, "style", hotswap=True)
        assert torch.equal(pipe(), expected(2))
        pipe.pipe.transformer.unload_lora()
        assert torch.equal(pipe(), base)
    assert not torch.equal(expected(1), base)


@every_method
def test_int8_weights(method: str) -> None:
    torchao = pytest.importorskip("torchao.quantization", reason="int8 weights need torchao")
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, method, **LENIENT[method]) as cache:
        torchao.quantize_(pipe.pipe.transformer, torchao.Int8WeightOnlyConfig())
        quantised = pipe()
    assert cache.last_run.skipped > 0
    assert torch.equal(quantised, fresh(pipe, method))
