"""A few random elements that represent a whole tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.kernels import operations

SEED = 0
"""A fixed seed: tensors of one shape share their elements, so branches and runs can be compared."""


class Coordinates:
    """Read the same random elements of each sample, from tensors of any shape.

    Args:
        count: how many elements, drawn with repetition.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._places: dict[tuple[tuple[int, ...], torch.device], tuple[Tensor, ...]] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """The elements of ``(batch, ...)``, as a new ``(batch, count)`` tensor in float32."""
        every: tuple[Any, ...] = (slice(None), *self._indices(tensor))
        return tensor[every].float()

    def compare(
        self, tensor: Tensor, earlier: Sequence[Tensor], weights: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """The elements of a tensor, and the error of their estimate from earlier ones.

        Args:
            tensor: ``(batch, ...)``.
            earlier: the elements of earlier tensors.
            weights: the estimate's weights, one for each earlier tensor.

        Returns:
            The result of `of`, and each sample's relative squared error, ``(batch,)``.
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
