"""What a record is made for: what changes a model's weights or adapters makes another one necessary."""

import copy
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import RunFacts
from skipstone.pipelines.planning import weights
from skipstone.pipelines.planning.conditions import conditions
from skipstone.pipelines.planning.weights import statistics
from support import tiny
from support.adapters import lora


def made_for(pipe: Any) -> str:
    return json.dumps(conditions(pipe, {"transformer": pipe.transformer}, RunFacts(())))


def fuse(values: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return values + ((torch.randn(64, 4) @ torch.randn(4, 64)) * 5e-4).to(values.dtype)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "an adapter": fuse,
    "negation": torch.neg,
    "exchanged rows": lambda values: values.flip(0),
    "two rows": lambda values: values[[1, 0, *range(2, 64)]],
    "one value": lambda values: values.index_fill(0, torch.tensor([3]), 0.5),
}


def test_any_value_of_any_tensor_counts() -> None:
    model = tiny.wan().pipe.transformer
    before = statistics(model)
    for name, parameter in model.named_parameters():
        for place in {0, parameter.numel() // 2, parameter.numel() - 1}:
            kept = parameter.detach().clone()
            with torch.no_grad():
                parameter.reshape(-1)[place].mul_(1.01).add_(1e-3)
                assert statistics(model) != before, f"{name}[{place}]"
                parameter.copy_(kept)
    assert statistics(model) == before


def test_weights_that_stay_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(8, 8)
    before = statistics(model)
    monkeypatch.setattr(weights, "_whole", lambda *_: pytest.fail("read again"))
    assert statistics(model) == before


@pytest.mark.parametrize("change", sorted(set(CHANGES) - {"two rows", "one value"}))
def test_offloaded_weights_are_read_whole_only_when_some_words_changed(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    model, home = torch.nn.Linear(64, 64).bfloat16(), torch.device("cuda")
    before = statistics(model, home)
    assert before == statistics(model)
    statistics(model, home)
    with monkeypatch.context() as never:
        for name in ("_sums", "_whole"):
            never.setattr(weights, name, lambda *_: pytest.fail("read whole"))
        assert statistics(model, home) == before
    model.weight.data.copy_(CHANGES[change](model.weight.data))
    changed = statistics(model, home)
    assert changed != before
    assert changed == statistics(model)


def test_only_what_was_moved_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first block under group offload, which a skipped last step leaves on the device."""
    model, home = torch.nn.Sequential(torch.nn.Linear(48, 48), torch.nn.Linear(64, 64)), torch.device("cuda")
    before = statistics(model, home)
    left = set(map(id, model[0].parameters()))
    monkeypatch.setattr(weights, "_waits", lambda tensor, home: home is not None and id(tensor) not in left)
    words: list[int] = []
    add_up = torch.Tensor.sum
    monkeypatch.setattr(
        torch.Tensor, "sum", lambda one, *rest: words.append(one.numel()) or add_up(one, *rest)
    )
    assert statistics(model, home) == before
    assert sum(words) <= 2 * (48 * 48 + 48) // 2
    words.clear()
    assert statistics(model, home) == before
    assert sum(words) <= (48 * 48 + 48) // 2


@pytest.mark.parametrize("changed", [(slice(None), slice(4, None)), (slice(9, None), slice(None))])
def test_changed_columns_and_rows_of_offloaded_weights_are_seen(changed: tuple[slice, slice]) -> None:
    values, home = torch.zeros(3072, 3072, dtype=torch.bfloat16), torch.device("cuda")
    before = weights.signs([values], home)
    values[changed] = 1
    assert weights.signs([values], home) != before


@pytest.mark.parametrize("count", [1, 12, 13, 1000])
def test_all_words_are_summed_in_64_bits(count: int) -> None:
    model = torch.nn.Module()
    source = torch.Generator().manual_seed(0)
    model.register_buffer("words", torch.randint(-(2**63), 2**63 - 1, (count,), generator=source))
    ((_, _, (total, *_)),) = statistics(model)
    assert total == model.words.sum()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_torch_does_not_count(change: str, dtype: torch.dtype, inference: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64).to(dtype).requires_grad_(False)
    with torch.inference_mode(inference):
        model.weight = torch.nn.Parameter(model.weight.clone(), requires_grad=False)
        before = statistics(model)
        model.weight.data.copy_(CHANGES[change](model.weight.data))
        assert statistics(model) != before


@pytest.mark.parametrize("change", CHANGES)
def test_signs_show_any_change(change: str) -> None:
    values = torch.randn(64, 64).bfloat16()
    assert weights.signs([values]) != weights.signs([CHANGES[change](values)])


def test_exchanged_values_count_where_they_are_looked_at() -> None:
    """Their sum is the same."""
    model = torch.nn.Linear(64, 64)
    before = statistics(model)
    with torch.no_grad():
        model.weight.copy_(model.weight.flip(0))
    assert statistics(model) != before


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.complex64, torch.int8]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7), (2, 3, 4, 4)])
def test_every_type_and_shape_can_be_read(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    model = torch.nn.Module()
    model.register_buffer("values", torch.ones(shape).to(dtype))
    before = statistics(model)
    model.register_buffer("values", torch.zeros(shape).to(dtype))
    assert (statistics(model) == before) == (0 in shape)


def test_where_values_lie_does_not_count() -> None:
    values = torch.randn(2, 3, 5, 5)
    shifted = torch.cat([torch.zeros(1), values.flatten()])[1:].reshape(values.shape)
    models = []
    for same in (values, values.contiguous(memory_format=torch.channels_last), shifted):
        models.append(model := torch.nn.Module())
        model.register_buffer("values", same)
    first, *others = map(statistics, models)
    assert all(other == first for other in others)


def test_buffers_that_are_not_saved_do_not_count() -> None:
    """Models keep what they have worked out in them."""
    model = torch.nn.Module()
    model.register_buffer("worked_out", torch.ones(3), persistent=False)
    assert statistics(model) == []


def test_tensors_without_values_can_be_read() -> None:
    with torch.device("meta"):
        assert len(statistics(torch.nn.Linear(2, 2))) == 2


@pytest.mark.parametrize("home", [None, torch.device("cuda")])
def test_the_default_device_does_not_count(home: torch.device | None) -> None:
    """Random numbers of the host's generator are drawn on the host."""
    model = torch.nn.Linear(53, 211)
    weights._glimpsed.cache_clear()
    with torch.device("meta"):
        here = statistics(model, home)
    weights._glimpsed.cache_clear()
    assert here == statistics(copy.deepcopy(model), home)


def test_the_default_device_does_not_draw_the_coordinates_of_records() -> None:
    with torch.device("meta"):
        here = Coordinates(16).indices((4, 30), torch.device("cpu"))
    there = Coordinates(16).indices((4, 30), torch.device("cpu"))
    assert all(map(torch.equal, here, there))


class Packed(torch.Tensor):
    """Numbers of four bits, as bitsandbytes keeps them."""


@pytest.mark.parametrize("nested", [False, True])
def test_what_quantised_numbers_are_scaled_by_counts(nested: bool) -> None:
    state = scales = SimpleNamespace(absmax=torch.ones(2), state2=None)
    if nested:
        state = SimpleNamespace(absmax=torch.ones(2, dtype=torch.uint8), state2=scales)
    model = torch.nn.Module()
    model.register_buffer("values", packed := torch.zeros(4, dtype=torch.uint8).as_subclass(Packed))
    packed.quant_state = state  # type: ignore[attr-defined]
    before = statistics(model)
    scales.absmax = torch.ones(2) * 2
    assert statistics(model) != before


ADAPTED: dict[str, Callable[[Any], Any]] = {
    "rescaled": lambda m: m.set_adapters("style", 0.5),
    "rescaled in one layer": lambda m: m.blocks[2].attn1.to_q.set_scale("style", 0.5),
    "disabled": lambda m: m.disable_lora(),
    "disabled by peft": lambda m: m.disable_adapters(),
    "disabled in one layer": lambda m: m.blocks[1].attn1.to_q.enable_adapters(False),
    "fused": lambda m: m.fuse_lora(),
    "fused and unloaded": lambda m: (m.fuse_lora(), m.unload_lora()),
    "unloaded": lambda m: m.unload_lora(),
    "exchanged": lambda m: m.set_adapters("other"),
    "joined": lambda m: m.set_adapters(["style", "other"]),
}


def adapted() -> tiny.Tiny:
    pytest.importorskip("peft")
    case = tiny.wan()
    lora(case, 1, "style")
    lora(case, 2, "other")
    case.pipe.transformer.set_adapters(["style"], 1.0)
    return case


def test_everything_that_is_done_to_adapters_is_told_apart() -> None:
    seen = {"as loaded": made_for(adapted().pipe)}
    for name, change in ADAPTED.items():
        change((case := adapted()).pipe.transformer)
        seen[name] = made_for(case.pipe)
    # peft leaves both ways of switching all adapters off alike.
    assert seen.pop("disabled by peft") == seen["disabled"]
    assert len(set(seen.values())) == len(seen)


def test_an_adapter_that_is_overwritten_in_place_is_another() -> None:
    before = made_for((case := adapted()).pipe)
    lora(case, 3, "style", hotswap=True)
    assert made_for(case.pipe) != before


class Picture:
    def __init__(self) -> None:
        self.scale: Any = [1.0]


def test_the_scales_of_pictures_count() -> None:
    case = tiny.wan()
    case.pipe.transformer.blocks[1].attn2.processor = processor = Picture()
    before = made_for(case.pipe)
    processor.scale = [0.5]
    assert made_for(case.pipe) != before
    processor.scale = torch.ones(1)
    assert made_for(case.pipe) == before
