"""The weights of a model are those that it computes with, wherever offloading keeps them."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.hooks import apply_group_offloading, group_offloading
from packaging.version import Version

from skipstone.pipelines.planning.weights import statistics
from support import tiny

CPU = torch.device("cpu")

on_any_device = pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.41"),
    reason="this diffusers brings groups to accelerators only",
)


class Stream:
    """Copies at once."""

    def synchronize(self) -> None:
        pass


def in_files(model: torch.nn.Module, folder: Path) -> None:
    apply_group_offloading(
        model,
        onload_device=CPU,
        offload_device=CPU,
        offload_type="block_level",
        num_blocks_per_group=1,
        offload_to_disk_path=str(folder),
    )


def by_a_stream(model: torch.nn.Module, folder: Path) -> None:
    facts: dict[str, Any] = {"record_stream": True, "low_cpu_mem_usage": True, "non_blocking": True}
    kind = group_offloading.GroupOffloadingType.BLOCK_LEVEL
    config = group_offloading.GroupOffloadingConfig(
        CPU, CPU, kind, num_blocks_per_group=1, stream=Stream(), **facts
    )
    group_offloading._apply_group_offloading(model, config)


@on_any_device
@pytest.mark.parametrize("offload", [in_files, by_a_stream])
def test_what_stands_in_their_place_does_not_count(offload: Any, tmp_path: Path) -> None:
    """Nothing is there while weights are in a file, and not all of them while they are on their way."""
    model = tiny.wan().pipe.transformer
    before = statistics(model)
    offload(model, tmp_path)
    for parameter in model.blocks.parameters():
        parameter.data = torch.full_like(parameter, 7.0)
    assert statistics(model) == before


@on_any_device
def test_weights_that_were_changed_before_are_others(tmp_path: Path) -> None:
    before = statistics(tiny.wan().pipe.transformer)
    model = tiny.wan().pipe.transformer
    with torch.no_grad():
        model.blocks[1].attn1.to_q.weight[0, 0] += 1
    in_files(model, tmp_path)
    assert statistics(model) != before


def test_sequential_offload_is_followed() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    before = statistics(model)
    accelerate.cpu_offload(model, execution_device="cpu")
    assert model[0].weight.device.type == "meta"
    assert statistics(model) == before


def test_weights_that_sequential_offload_ignores_do_not_count() -> None:
    """Accelerate brings its own weights before each call, whatever was assigned."""
    accelerate = pytest.importorskip("accelerate")
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    accelerate.cpu_offload(model, execution_device="cpu")
    before, x = statistics(model), torch.ones(1, 4)
    output = model(x)
    model.load_state_dict(torch.nn.Sequential(torch.nn.Linear(4, 4)).state_dict(), assign=True)
    assert statistics(model) == before
    assert torch.equal(model(x), output)


def test_sequential_offload_is_followed_where_a_model_has_weights_of_its_own() -> None:
    accelerate = pytest.importorskip("accelerate")
    before = statistics(tiny.wan().pipe.transformer)
    seen = []
    for change in (0.0, 1.0):
        model = tiny.wan().pipe.transformer
        model.scale_shift_table.data[0, 0, 0] += change
        accelerate.cpu_offload(model, execution_device="cpu")
        assert model.scale_shift_table.device.type == "meta"
        seen.append(statistics(model))
    assert seen[0] == before != seen[1]
