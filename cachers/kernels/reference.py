"""The operations in plain torch: their definition, and what runs without a kernel."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skipstone.cachers.kernels.grouping import Grouping, grouping_of

LARGEST = {torch.float8_e4m3fn: 448.0, torch.int8: 127.0}
"""The 8-bit types, each with its largest number."""


class Quantised(NamedTuple):
    """A dense tensor in 8 bits.

    Args:
        values: the quantised values, in the tensor's shape and layout.
        scales: the factor of each group of elements, in the grouping's shape, float32.
        dtype: the tensor's own type.
    """

    values: Tensor
    scales: Tensor
    dtype: torch.dtype

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.values, self.values.dtype)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.scales.nbytes

    def to(self, device: torch.device) -> "Quantised":
        """Move it to another device."""
        return self._replace(values=self.values.to(device), scales=self.scales.to(device))


def reuse(
    base: Tensor, snapshots: Sequence[Tensor], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    total = base
    for snapshot, weight in zip(snapshots, weights, strict=True):
        total = total.add(snapshot, alpha=weight)
    total = total.to(base.dtype)
    return total if out is None else out.copy_(total)


def adjust(base: Tensor, residual: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return base + (residual * scale + shift)


def restore(
    base: Tensor, snapshots: Sequence[Quantised], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    return reuse(base, [dequantise(one, torch.float32) for one in snapshots], weights, out)


def distance(current: Tensor, reference: Tensor, order: int = 1) -> Tensor:
    moved, size = (current - reference).flatten(1), reference.flatten(1)
    if order == 1:
        return moved.abs().mean(1, dtype=torch.float32) / size.abs().mean(1, dtype=torch.float32)
    far: Tensor = moved.float().norm(dim=1) / size.float().norm(dim=1)
    return far


def quantise(tensor: Tensor, dtype: torch.dtype) -> Quantised:
    """Quantise a dense tensor to 8 bits; each group's scale maps its largest element to `LARGEST`."""
    grouping = grouping_of(tensor, dtype)
    groups = grouping.split(in_memory_order(tensor).float())
    scales = groups.abs().amax(-1) / LARGEST[dtype]
    scales = torch.where(scales == 0, 1.0, scales)
    values = torch.empty_like(tensor, dtype=dtype)
    scaled = grouping.joined(groups / scales[..., None])
    in_memory_order(values).copy_(scaled.round() if dtype == torch.int8 else scaled)
    return Quantised(values, scales, tensor.dtype)


def dequantise(quantised: Quantised, dtype: torch.dtype | None = None) -> Tensor:
    """Restore a quantised tensor, in its own type or in another one."""
    values, scales, own = quantised
    groups = quantised.grouping.split(in_memory_order(values).float()) * scales[..., None]
    tensor = torch.empty_like(values, dtype=dtype or own)
    in_memory_order(tensor).copy_(quantised.grouping.joined(groups))
    return tensor


def in_memory_order(tensor: Tensor) -> Tensor:
    """A view of a dense tensor's elements in memory order."""
    return tensor.as_strided((tensor.numel(),), (1,))
