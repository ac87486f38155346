"""A few random elements that represent a whole tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
        every: tuple[Any, ...] = (slice(None), *self.indices(tensor.shape[1:], tensor.device))
        return tensor[every].float()

    def indices(self, shape: Sequence[int], device: torch.device) -> tuple[Tensor, ...]:
        """Which elements of a sample of this shape: for each dimension, ``(count,)``."""
        key = tuple(shape), device
        if key not in self._places:
            self._places[key] = self._draw(*key)
        return self._places[key]

    def _draw(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, ...]:
        elements = torch.Size(shape).numel()
        source = torch.Generator().manual_seed(SEED)
        flat = torch.randint(elements, (self._count,), generator=source, device="cpu")
        return tuple(index.to(device).contiguous() for index in torch.unravel_index(flat, shape))
