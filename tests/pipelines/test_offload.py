"""Weights of skipped blocks are not moved: counted where diffusers and accelerate move them.

The storage and the compute device are both the CPU here; what is counted is how often a block is asked for.
"""

from collections import Counter
from typing import Any

import accelerate
import pytest
import torch
from accelerate.hooks import AlignDevicesHook
from diffusers.hooks import apply_group_offloading
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn

import skipstone
from skipstone import FORA, PAB, Cacher, DeltaDiT, FasterCache, TGate
from skipstone.pipelines import engine
from support import tiny
from support.methods import blocks, smooth
from support.offloading import on_any_device
from support.toy import ToyModel, ToyPipeline, constant

CPU = torch.device("cpu")
STEPS, BRANCHES = 8, 2


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a group of weights was brought in, by kind."""
    count: Counter[str] = Counter()

    def counted(name: str, function: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            count[name] += 1
            return function(self, *args, **kwargs)

        return call

    monkeypatch.setattr(ModuleGroup, "onload_", counted("group", ModuleGroup.onload_))
    monkeypatch.setattr(AlignDevicesHook, "pre_forward", counted("hook", AlignDevicesHook.pre_forward))
    return count


def by_group(pipe: Any) -> None:
    apply_group_offloading(
        pipe.transformer,
        onload_device=CPU,
        offload_device=CPU,
        offload_type="block_level",
        num_blocks_per_group=1,
    )


def by_leaf(pipe: Any) -> None:
    apply_group_offloading(pipe.transformer, onload_device=CPU, offload_device=CPU, offload_type="leaf_level")


def sequentially(pipe: Any) -> None:
    for model in (pipe.transformer, pipe.vae):
        accelerate.cpu_offload(model, CPU)


def as_a_model(pipe: Any) -> None:
    accelerate.cpu_offload_with_hook(pipe.transformer, CPU)


def blockwise(pipe: tiny.Tiny, offload: Any, moves: Counter[str]) -> tuple[int, int]:
    """Moves in an uncached run, and in one whose model has its blocks taken out: the least there can be."""
    offload(pipe.pipe)
    pipe()
    every = moves.total()
    blocks, pipe.pipe.transformer.blocks = pipe.pipe.transformer.blocks, torch.nn.ModuleList()
    pipe()
    pipe.pipe.transformer.blocks = blocks
    return every, moves.total() - every


@pytest.mark.parametrize("attached_first", [False, True], ids=["offloaded first", "attached first"])
@pytest.mark.parametrize(
    "offload",
    [*(pytest.param(one, marks=on_any_device) for one in (by_group, by_leaf)), sequentially],
    ids=["by_group", "by_leaf", "sequentially"],
)
def test_skipped_blocks_are_not_brought_in(offload: Any, attached_first: bool, moves: Counter[str]) -> None:
    """First Block computes the first step, replays it once as a check, and then runs one of the three blocks.

    With two branches these are 21 block calls instead of 48, and 17 evaluations instead of 16.
    """
    every, least = blockwise(tiny.wan(), offload, moves)
    assert every > least
    moves.clear()
    pipe = tiny.wan()
    if not attached_first:
        offload(pipe.pipe)
    with skipstone.attach(pipe.pipe, "first-block", threshold=1e9) as cache:
        if attached_first:
            offload(pipe.pipe)
        pipe()
    assert cache.last_run.strip == "#......."
    assert (moves.total() - least * 17 / 16) * 48 == (every - least) * 21


@pytest.mark.parametrize("attached_first", [False, True], ids=["offloaded first", "attached first"])
def test_a_model_that_is_moved_as_a_whole(attached_first: bool) -> None:
    with skipstone.attach((pipe := tiny.wan()).pipe, "first-block", threshold=1e9):
        expected = pipe()
    pipe = tiny.wan()
    if not attached_first:
        as_a_model(pipe.pipe)
    with skipstone.attach(pipe.pipe, "first-block", threshold=1e9) as cache:
        if attached_first:
            as_a_model(pipe.pipe)
        assert torch.equal(pipe(), expected)
    assert cache.last_run.skipped == (STEPS - 1) * BRANCHES


@pytest.mark.parametrize(
    ("offload", "attached_first"),
    [
        pytest.param(by_group, False, marks=on_any_device),
        pytest.param(by_leaf, True, marks=on_any_device),
        (sequentially, False),
    ],
    ids=["by_group, offloaded first", "by_leaf, attached first", "sequentially, offloaded first"],
)
@pytest.mark.parametrize(
    "method",
    [
        PAB(2, 2, 2, from_timestep=1e9, until_timestep=-1e9),
        TGate(gate=4, interval=2, warmup=1),
        FasterCache(start=0.2, guidance_start=0.2, guidance_interval=3),
        DeltaDiT(2, share=1.0),
        smooth(0.3),
        blocks(0.2),
    ],
    ids=lambda method: method.name,
)
def test_layers_are_skipped_alike_and_what_is_skipped_whole_is_not_brought_in(
    method: Cacher[Any], offload: Any, attached_first: bool, moves: Counter[str]
) -> None:
    """Weights are brought in by the layer, but for groups of blocks, which run around what is skipped."""
    with skipstone.attach((pipe := tiny.wan()).pipe, method) as cache:
        expected, parts = pipe(), cache.last_run.parts
    offload((pipe := tiny.wan()).pipe)
    pipe()
    every = moves.total()
    moves.clear()
    pipe = tiny.wan()
    if not attached_first:
        offload(pipe.pipe)
    with skipstone.attach(pipe.pipe, method) as cache:
        if attached_first:
            offload(pipe.pipe)
        assert torch.equal(pipe(), expected)
    assert cache.last_run.parts == parts
    is_within_groups = offload is by_group and "block" not in parts and not isinstance(method, FasterCache)
    assert moves.total() == every if is_within_groups else moves.total() < every


def parked(model: nn.Module, leaves_after: nn.Module | None) -> None:
    """Keep the first weight elsewhere until the model is called, and again after each call of a module."""
    block = next(model.children())[0]
    here, away = block.amount, nn.Parameter(block.amount.to("meta"))
    block.amount = away
    model.register_forward_pre_hook(lambda *_: setattr(block, "amount", here))
    if leaves_after is not None:
        leaves_after.register_forward_hook(lambda *_: setattr(block, "amount", away))


@pytest.mark.parametrize(
    ("leaves_after", "brought"),
    [
        (lambda model: None, [True, False, False, False]),
        (lambda model: model, [False] * 4),
        (lambda model: model.blocks[0], [False] * 4),
    ],
    ids=["once a run", "in each call", "by group, and left there by a skipped step"],
)
def test_the_call_that_brings_a_model_for_the_whole_run_is_known(
    leaves_after: Any, brought: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[engine.LogEntry] = []
    entry = engine.LogEntry
    monkeypatch.setattr(engine, "LogEntry", lambda *facts: made.append(entry(*facts)) or made[-1])
    parked(model := ToyModel(), leaves_after(model))
    with skipstone.attach(pipe := ToyPipeline(model), FORA(2)) as cache:
        pipe(constant(4))
    assert cache.last_run.strip == "#.#."
    assert [one.brought for one in made] == brought
