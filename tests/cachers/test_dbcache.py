"""DBCache with first and last blocks against cache-dit's rule, worked out a second time in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import DBCache, RunCap, Taylor, WithPredictor
from support import tiny
from support.toy import ToyAttention, ToyModel, ToyPipeline, TwoLists, constant


class Bends(nn.Module):
    """A block that adds ``sin(amount * x) * temb``: what it does depends on what it is given."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.attn = ToyAttention()

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        return self.attn(hidden_states) + torch.sin(self.amount * hidden_states) * temb


def inputs(steps: int) -> list[dict[str, Tensor]]:
    """An input that moves fast, slow, and fast again."""
    generator = torch.Generator().manual_seed(0)
    pace = torch.linspace(-1, 1, steps).square() * 0.3 + 0.01
    moves = torch.randn(steps, 1, 6, 4, generator=generator) * pace.reshape(-1, 1, 1, 1)
    states = torch.randn(1, 6, 4, generator=generator) + moves.cumsum(0)
    return [{"hidden_states": state, "temb": 0.3 * torch.ones(1, 6, 4)} for state in states]


def by_hand(given: Any, blocks: int, first: int, last: int, threshold: float, warmup: int) -> Any:
    """The outputs, and which steps were computed."""
    numbers = range(1, blocks + 1)
    head, middle, tail = numbers[:first], numbers[first : blocks - last], numbers[blocks - last :]

    def run(h: np.ndarray, part: Any) -> np.ndarray:
        for amount in part:
            h = h + np.sin(amount * h) * 0.3
        return h

    outputs, computed, reference, kept = [], [], np.zeros(1), np.zeros(1)
    for t, one in enumerate(given):
        h_in = one["hidden_states"].double().numpy()
        h_first = run(h_in, head)
        residual = h_first - h_in
        hit = (
            t >= max(warmup, 1) and np.abs(reference - residual).mean() / np.abs(reference).mean() < threshold
        )
        if hit:
            h = h_first + kept
        else:
            h = run(h_first, middle)
            reference, kept = residual, h - h_first
        outputs.append(run(h, tail))
        computed.append(not hit)
    return outputs, computed


@pytest.mark.parametrize(("first", "last"), [(1, 0), (1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize(("threshold", "warmup"), [(0.1, 0), (0.3, 4)])
def test_outputs_and_decisions_are_those_of_the_rule(
    first: int, last: int, threshold: float, warmup: int
) -> None:
    given = inputs(24)
    pipe = ToyPipeline(ToyModel(6, Bends))
    method = DBCache(threshold, first, warmup, last_blocks=last)
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        outputs = pipe(given)
    expected, computed = by_hand(given, 6, first, last, threshold, warmup)
    assert cache.last_run.strip == "".join("#" if one else "." for one in computed)
    assert 1 < sum(computed) < 24
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-4)


METHOD = DBCache(1e9, 1, 0, last_blocks=2)


@pytest.mark.parametrize(
    "method", [METHOD, RunCap(METHOD, 9), WithPredictor(METHOD, Taylor(1))], ids=lambda m: m.name
)
def test_first_and_last_blocks_run_on_every_step(method: skipstone.Cacher) -> None:
    model = ToyModel(6)
    pipe = ToyPipeline(model)
    with torch.no_grad(), skipstone.attach(pipe, method):
        pipe(constant(5))
    # The first step is replayed once without the blocks that may be skipped, as a check.
    assert model.block_calls == [6, 1, 1, 1, 6, 6]


def test_the_last_blocks_may_be_a_whole_list() -> None:
    """FLUX's layout: two blocks of two streams, then two of one."""
    model = TwoLists()
    pipe = ToyPipeline(model)
    with torch.no_grad(), skipstone.attach(pipe, DBCache(1e9, 1, 0, last_blocks=2)) as cache:
        outputs = pipe(constant(5))
    assert cache.last_run.strip == "#...."
    runs = [[block.attn.calls for block in part] for part in (model.double_blocks, model.single_blocks)]
    assert runs == [[6, 1], [6, 6]]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("make", tiny.PIPELINES.values(), ids=tiny.PIPELINES)
def test_last_blocks_run_on_real_classes(make: Any) -> None:
    pipe = make()
    bare = pipe()
    with skipstone.attach(pipe.pipe, DBCache(0.0, 1, 0, last_blocks=1)) as cache:
        assert torch.equal(pipe(), bare)
    with skipstone.attach(pipe.pipe, DBCache(1e9, 1, 0, last_blocks=1)) as cache:
        skipping = pipe()
    assert cache.last_run.strip == "#......."
    assert cache.last_run.notes == ()
    assert torch.isfinite(skipping).all()
    with skipstone.attach(pipe.pipe, DBCache(1e9, 1, 0)):
        assert not torch.equal(skipping, pipe())


@pytest.mark.parametrize(("model", "last"), [(ToyModel(3), 2), (TwoLists(), 3)])
def test_blocks_that_all_run_leave_nothing_to_skip(model: nn.Module, last: int) -> None:
    pipe = ToyPipeline(model)
    with torch.no_grad(), skipstone.attach(pipe, DBCache(1e9, 1, 0, last_blocks=last)) as cache:
        pipe(constant(4))
    assert cache.last_run.strip == "####"
    assert "no block that could be skipped" in cache.last_run.notes[0]


@pytest.mark.parametrize("settings", [{"last_blocks": -1}, {"warmup": -1}, {"blocks": 0}])
def test_bad_settings_are_named(settings: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be|last_blocks must be"):
        DBCache(**settings)
