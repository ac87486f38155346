"""The sign of a model's adapters changes with all that is done to them, and comes back with it."""

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from skipstone.pipelines.model.adapters import adapter_signs
from support import tiny
from support.adapters import lora

peft = pytest.importorskip("peft", reason="adapters need peft")


@pytest.fixture
def model() -> Any:
    pipe = tiny.wan()
    lora(pipe, 1, "style")
    lora(pipe, 2, "other")
    pipe.pipe.transformer.set_adapters(["style"], 1.0)
    return pipe.pipe.transformer


CHANGES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "rescaled": (lambda m: m.set_adapters("style", 0.5), lambda m: m.set_adapters("style", 1.0)),
    "disabled": (lambda m: m.disable_lora(), lambda m: m.enable_lora()),
    "disabled by peft": (lambda m: m.disable_adapters(), lambda m: m.enable_adapters()),
    "exchanged": (lambda m: m.set_adapters("other"), lambda m: m.set_adapters("style", 1.0)),
    "joined": (lambda m: m.set_adapters(["style", "other"]), lambda m: m.set_adapters("style", 1.0)),
    "fused": (lambda m: m.fuse_lora(), lambda m: m.unfuse_lora()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen_and_so_is_their_end(model: Any, change: str) -> None:
    do, undo = CHANGES[change]
    before = (sign := adapter_signs(model))()
    assert sign() == before
    do(model)
    assert sign() != before
    undo(model)
    assert sign() == before


@pytest.mark.parametrize("block", range(3))
def test_one_layer_is_enough(model: Any, block: int) -> None:
    before = (sign := adapter_signs(model))()
    layer = model.blocks[block].attn1.to_q
    layer.set_scale("style", 0.25)
    assert sign() != before
    layer.set_scale("style", 1.0)
    assert sign() == before
    layer.enable_adapters(False)
    assert sign() != before


def test_adapters_that_are_loaded_later_are_watched_from_then_on() -> None:
    pipe = tiny.wan()
    signs = [(sign := adapter_signs(model := pipe.pipe.transformer))()]
    for change in (
        lambda: lora(pipe, 1, "style"),
        lambda: model.set_adapters("style", 0.5),
        lambda: lora(pipe, 2, "other"),
        lambda: model.delete_adapters("other"),
        lambda: model.unload_lora(),
        lambda: lora(pipe, 1, "style"),
    ):
        change()
        assert sign() != signs[-1]
        signs.append(sign())
    assert sign() == signs[-1]


def test_scales_on_a_device_are_told_by_when_they_were_written(model: Any) -> None:
    """As peft keeps them for compiled models: to compare their values would mean to wait for the device."""
    for part in model.modules():
        if hasattr(part, "scaling"):
            part.scaling = {name: torch.tensor(scale) for name, scale in part.scaling.items()}
    before = (sign := adapter_signs(model))()
    assert sign() == before
    model.blocks[2].attn1.to_q.scaling["style"].fill_(0.5)
    assert sign() != before


class Picture:
    """A processor of an attention that takes pictures in, with a scale for each."""

    def __init__(self, scale: Any) -> None:
        self.scale = scale


def test_scales_of_pictures_are_seen() -> None:
    model = tiny.wan().pipe.transformer
    for block in model.blocks:
        block.attn2.processor = Picture([1.0, [0.5, 0.5]])
    before = (sign := adapter_signs(model))()
    model.blocks[1].attn2.processor.scale[0] = 0.5
    assert sign() != before
    model.blocks[1].attn2.processor.scale = [1.0, [0.5, 0.5]]
    assert sign() == before


def test_a_picture_adapter_that_is_loaded_later_is_seen() -> None:
    model = tiny.wan().pipe.transformer
    before = (sign := adapter_signs(model))()
    model.encoder_hid_proj = nn.Linear(2, 2)
    assert sign() != before


def test_the_scale_of_a_picture_may_be_one_number() -> None:
    model = tiny.wan().pipe.transformer
    model.blocks[0].attn2.processor = Picture(1.0)
    before = (sign := adapter_signs(model))()
    model.blocks[0].attn2.processor.scale = 0.5
    assert sign() != before


def test_signs_are_keys(model: Any) -> None:
    model.blocks[1].attn2.processor = Picture([1.0, [0.5, 0.5]])
    sign = adapter_signs(model)
    kept = {sign(): "before"}
    model.disable_adapters()
    assert sign() not in kept
    model.enable_adapters()
    assert kept[sign()] == "before"


def test_a_model_without_adapters_always_has_the_same_sign() -> None:
    sign = adapter_signs(model := tiny.flux().pipe.transformer)
    before = sign()
    model.to(torch.float64)
    assert sign() == before
    assert isinstance(model, diffusers.FluxTransformer2DModel)
