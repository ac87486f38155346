"""Blocks in a row that are skipped as one."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone.cachers.contract.words import LayerKind
from support.layer_fora import BLOCK, LayerFORA
from support.toy import ToyModel, ToyPipeline, constant, drifting
from support.zoo import ZOO
from support.zoo_runs import run


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


@dataclass(frozen=True)
class Joined(LayerFORA):
    """Skips all blocks as one."""

    joins_blocks = True

    kinds: frozenset[LayerKind] = BLOCK


@pytest.mark.parametrize("name", ZOO)
def test_blocks_in_a_row_are_skipped_as_one(name: str) -> None:
    species = ZOO[name]
    pipe = ToyPipeline(species.model())
    with skipstone.attach(pipe, Joined(1000)) as cache:
        computed, *rest = run(pipe, species)
    assert cache.last_run.strip in ("#++++", "##+++")
    for outputs in rest:
        for output, wanted in zip(outputs, computed, strict=True):
            assert (output - wanted).norm() <= 1e-6 * wanted.norm()


def test_one_residual_is_kept_for_blocks_in_a_row() -> None:
    pipe = ToyPipeline(ToyModel(5))
    with skipstone.attach(pipe, Joined(2)) as cache:
        outputs = pipe(drifting(4, 0.5))
    assert [output.unique().item() for output in outputs] == [16.0, 1.5 + 15 * 1.0, 32.0, 2.5 + 15 * 2.0]
    assert pipe.transformer.block_calls == [2] * 5
    assert cache.last_run.parts == {"block": {"computed": 10, "skipped": 10}}
    assert cache.last_run.bytes_held == 4 * 2 * 4


def test_terms_between_joined_blocks_count_once() -> None:
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, Joined(1000)):
        outputs = pipe([{**given, "inject": torch.ones(1, 4, 2)} for given in constant(4)])
    assert [output.unique().item() for output in outputs] == [1.0 + 6 + 3] * 4


class Wayward(ToyModel):
    """Runs the blocks it is told to."""

    def forward(self, hidden_states: Tensor, temb: Tensor, mask: list[int]) -> Tensor:  # type: ignore[override]
        for number in mask:
            hidden_states = self.blocks[number](hidden_states, temb)
        return hidden_states


def test_a_range_that_changes_is_computed_again_or_refused() -> None:
    whole, short = [0, 1, 2], [0, 2]
    pipe = ToyPipeline(Wayward())
    with skipstone.attach(pipe, Joined(2)) as cache:
        masks = [whole, whole, short, whole, whole]
        pipe([{**given, "mask": mask} for given, mask in zip(constant(5), masks, strict=True)])
    assert cache.last_run.strip == "#+###"
    with (
        pytest.raises(RuntimeError, match="Adds was called out of the order learned"),
        skipstone.attach(pipe, Joined(2)),
    ):
        pipe([{**given, "mask": r} for given, r in zip(constant(2), [whole, short], strict=True)])


class Irregular(ToyModel):
    """Calls its blocks in different ways."""

    def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
        first, *others = self.blocks
        hidden_states = first(hidden_states, temb)
        for block in others:
            hidden_states = block(hidden_states=hidden_states, temb=temb)
        return hidden_states


def test_blocks_that_are_called_in_different_ways_are_not_joined() -> None:
    pipe = ToyPipeline(Irregular())
    with skipstone.attach(pipe, Joined(2)) as cache:
        outputs = pipe(constant(4))
    assert [output.unique().item() for output in outputs] == [7.0] * 4
    assert cache.last_run.strip == "####"
    assert "transformer: Adds is not called alike each time: it is never skipped" in cache.last_run.notes
