"""Trials of a model leave no trace: what it draws and counts is as without a cache."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import FORA, Cacher, FirstBlock, TeaCache
from support.toy import Adds, ToyModel, ToyPipeline, drifting

OFF = {"stack": FirstBlock(threshold=0.0), "output": FORA(interval=1), "early": TeaCache(threshold=0.0)}

SOURCES = {
    "torch": lambda: torch.rand(()).item(),
    "numpy": np.random.random,
    "python": random.random,
}


class Restless(ToyModel):
    """Draws a number in each of its calls, and counts them."""

    def __init__(self, source: str) -> None:
        super().__init__(3, Adds)
        self.draw = SOURCES[source]
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
        self.calls += 1
        return super().forward(hidden_states + self.draw(), temb, inject) + self.calls


def outputs(model: nn.Module, method: Cacher[Any] | None) -> list[Tensor]:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    pipe = ToyPipeline(model)
    if method is None:
        return pipe(drifting(6))
    with skipstone.attach(pipe, method):
        return pipe(drifting(6))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("method", OFF)
def test_a_gate_that_is_off_changes_nothing(method: str, source: str) -> None:
    bare = outputs(Restless(source), None)
    assert all(map(torch.equal, outputs(Restless(source), OFF[method]), bare))


def test_dropout_in_training_mode_is_as_without() -> None:
    class Dropping(ToyModel):
        def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
            dropped = nn.functional.dropout(hidden_states, 0.5, self.training)
            return super().forward(dropped, temb, inject)

    bare = outputs(Dropping(), None)
    assert all(map(torch.equal, outputs(Dropping(), OFF["stack"]), bare))
