"""Runs of the tiny models of every class, and what they are compared by."""

from typing import Any

import torch
from torch import Tensor, nn

from support.toy import ToyPipeline
from support.zoo import Species, tensors


def run(pipe: ToyPipeline, species: Species, *branches: int, steps: int = 6) -> list[list[Tensor]]:
    """The tensors that each call of all steps but the last returns."""
    given = [[species.call(branch) for branch in branches or (0,)] for _ in range(steps - 1)]
    return [list(tensors(output)) for output in pipe(given, steps=steps)]


def assert_equal(outputs: list[list[Tensor]], expected: list[list[Tensor]]) -> None:
    for ours, theirs in zip(outputs, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def footprint(model: nn.Module) -> Any:
    """All that attaching could leave behind in a model."""
    modules = [
        (name, type(part), len(part._forward_hooks), len(part._forward_pre_hooks), sorted(part.__dict__))
        for name, part in model.named_modules()
    ]
    return modules, list(model.state_dict())
