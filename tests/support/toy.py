"""Toy models whose right answers are known by arithmetic."""

from typing import Any

import torch
from torch import Tensor, nn

from skipstone.testing.toys import Adds as Adds
from skipstone.testing.toys import ToyAttention as ToyAttention
from skipstone.testing.toys import ToyModel as ToyModel
from skipstone.testing.toys import ToyPipeline as ToyPipeline
from skipstone.testing.toys import constant as constant
from skipstone.testing.toys import drifting as drifting


class AddsInPlace(Adds):
    """The same block, writing into its input."""

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        hidden_states += self.amount * temb
        return self.attn(hidden_states)


class AddsToBoth(nn.Module):
    """A block with two streams, which it returns in the other order."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))
        self.attn = ToyAttention()

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor) -> Any:
        hidden = self.attn(hidden_states) + self.amount * temb
        return encoder_hidden_states + 2 * self.amount * temb, hidden


class TwoLists(nn.Module):
    """Two streams through one list, then, joined into one, through another: the layout of FLUX.2."""

    def __init__(self) -> None:
        super().__init__()
        self.double_blocks = nn.ModuleList(AddsToBoth(float(n + 1)) for n in range(2))
        self.single_blocks = nn.ModuleList(Adds(float(n + 1)) for n in range(2))

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        context, temb = -hidden_states[:, :1], temb[:, :1]
        for block in self.double_blocks:
            context, hidden_states = block(
                hidden_states=hidden_states, encoder_hidden_states=context, temb=temb
            )
        joined = torch.cat([context, hidden_states], dim=1)
        for block in self.single_blocks:
            joined = block(joined, temb)
        return joined[:, context.shape[1] :]
