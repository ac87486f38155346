"""A few random elements that stand for a whole tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.kernels import operations

SEED = 0
"""The same elements of tensors of the same shape, so that branches and runs can be compared."""


class Coordinates:
    """Reads the same random elements of each sample, of tensors of any shape.

    Args:
        count: how many, with repetition.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._places: dict[tuple[tuple[int, ...], torch.device], tuple[Tensor, ...]] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """Those of ``(batch, ...)``, as ``(batch, count)`` in float32 and in memory of their own."""
        every: tuple[Any, ...] = (slice(None), *self._indices(tensor))
        return tensor[every].float()

    def compare(
        self, tensor: Tensor, earlier: Sequence[Tensor], weights: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Those of a tensor, and how far an estimate of them is off.

        Args:
            tensor: ``(batch, ...)``.
            earlier: those of earlier tensors.
            weights: of the estimate, one for each of them.

        Returns:
            What `of` gives, and each sample's relative squared error, ``(batch,)``.
        """
        return operations.deviation(tensor, self._indices(tensor), earlier, weights)

    def _indices(self, tensor: Tensor) -> tuple[Tensor, ...]:
        key = tuple(tensor.shape[1:]), tensor.device
        if key not in self._places:
            self._places[key] = self._draw(*key)
        return self._places[key]

    def _draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        elements = torch.Size(shape).numel()
        flat = torch.randint(elements, (self._count,), generator=torch.Generator().manual_seed(SEED))
        return tuple(index.to(device).contiguous() for index in torch.unravel_index(flat, shape))
