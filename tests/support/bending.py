"""Inputs whose residual turns with the steps."""

import torch
from torch import Tensor


def bending(steps: int, bend: float = 0.0, batch: int = 1) -> list[dict[str, Tensor]]:
    """A ``temb``, and so a residual, that turns with the steps, and with ``bend`` less steadily."""
    time = torch.linspace(0, 1, steps)
    phase = torch.linspace(0, 3, 8).reshape(1, 4, 2).repeat(batch, 1, 1)
    tembs = [torch.sin(phase + t) + bend * torch.sin(9 * t + 5 * phase) for t in time]
    return [{"hidden_states": torch.ones(batch, 4, 2), "temb": temb} for temb in tembs]
