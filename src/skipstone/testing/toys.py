"""A toy model and a toy pipeline whose right answers are known by arithmetic."""

from collections.abc import Callable, Iterable
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from skipstone.pipelines.run.model_time import model_time


class ToyAttention(nn.Module):
    """Counts its calls and returns its input."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, hidden_states: Tensor) -> Tensor:
        self.calls += 1
        return hidden_states


class Adds(nn.Module):
    """A block that adds ``amount * temb`` to its input."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))
        self.attn = ToyAttention()

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        attended: Tensor = self.attn(hidden_states)
        return attended + self.amount * temb


class ToyModel(nn.Module):
    """One list of blocks, each adding its number (from 1) times ``temb``; ``inject`` is added after each."""

    def __init__(self, blocks: int = 3, block: Callable[[float], nn.Module] = Adds) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(float(n + 1)) for n in range(blocks))

    def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
        hidden_states = hidden_states.clone()
        for block in self.blocks:
            hidden_states = block(hidden_states, temb)
            if inject is not None:
                hidden_states = hidden_states + inject
        return hidden_states

    @property
    def block_calls(self) -> list[int]:
        """How often each block's attention ran."""
        attentions = (module for module in self.modules() if isinstance(module, ToyAttention))
        return [attention.calls for attention in attentions]


class Replaying(diffusers.FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # diffusers has no types
    """Sets the time that the model is given, where that is the same on every step."""

    time: float | None = None
    timesteps: Tensor

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        if self.time is not None:
            self.set_begin_index(0)
            self.timesteps = torch.full_like(self.timesteps, self.time)


class ToyPipeline:
    """Calls the model with given inputs, whatever it returns, and the scheduler after each step.

    Args:
        model: the model.
        branches: how often it is called in each step.
    """

    def __init__(self, model: nn.Module, branches: int = 1) -> None:
        self.transformer = model
        self.scheduler: Any = Replaying()
        self.branches = branches

    @torch.no_grad()
    def __call__(self, inputs: Iterable[Any], steps: int | None = None, **kwargs: Any) -> list[Tensor]:
        """The model's outputs; an input is the keyword arguments of one step, for all its branches."""
        inputs = list(inputs)
        self.scheduler.time = time_of(self.transformer, inputs)
        self.scheduler.set_timesteps(steps or len(inputs))
        outputs = []
        for t, given in zip(self.scheduler.timesteps, inputs, strict=False):
            for branch in range(self.branches):
                one = given[branch] if isinstance(given, (list, tuple)) else given
                outputs.append(self.transformer(**{**one, **kwargs}))
            self.scheduler.step(torch.zeros(1), t, torch.zeros(1))
        return outputs


def time_of(model: nn.Module, inputs: list[Any]) -> float | None:
    """The time in the inputs of the first call, None where there is none."""
    if not inputs:
        return None
    first = inputs[0][0] if isinstance(inputs[0], (list, tuple)) else inputs[0]
    time = model_time(model, (), first)
    return None if time is None else time.bounds[1]


def constant(steps: int, value: float = 1.0, batch: int = 1) -> list[dict[str, Tensor]]:
    """The same input on every step."""
    ones = torch.ones(batch, 4, 2)
    return [{"hidden_states": value * ones, "temb": ones} for _ in range(steps)]


def drifting(steps: int, rate: float = 0.1, batch: int = 1) -> list[dict[str, Tensor]]:
    """An input and a ``temb`` that both grow by ``rate`` a step."""
    ones = torch.ones(batch, 4, 2)
    return [{"hidden_states": (1 + rate * n) * ones, "temb": (1 + rate * n) * ones} for n in range(steps)]
