"""The operations on whole tensors, by a fused kernel if one works and in plain torch otherwise.

Kernels run on CUDA devices with Triton, for tensors of 16 or 32 bits with the same memory layout. All results
stay on the device; nothing here waits for it.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from skipstone.cachers.kernels import reference as plain
from skipstone.cachers.kernels.dispatch import attempt, suits
from skipstone.cachers.kernels.grouping import GROUP, grouping_of
from skipstone.cachers.kernels.layout import layout_of
from skipstone.cachers.kernels.reference import Quantised

SnapshotT = TypeVar("SnapshotT", Tensor, Quantised)


def reuse(
    base: Tensor, snapshots: Sequence[Tensor], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    """``base + sum_j weights[j] * snapshots[j]``.

    Args:
        base: ``(batch, ...)``.
        snapshots: of the same shape; float32 snapshots may have a base of another type, as for guidance.
        weights: one for each snapshot; snapshots of weight 0 are not read.
        out: the tensor to write, which may be the base. By default a new tensor, or the base itself if there
            is nothing to add.
    """
    snapshots, weights = _used(snapshots, weights)
    # For one snapshot, torch needs only one pass too.
    if len(weights) > 1 and suits((base, *snapshots)):
        into = torch.empty_like(base) if out is None else out
        layout = layout_of((into, base, *snapshots))
        if layout is not None and attempt("reuse", base, layout, into, base, snapshots, weights):
            return into
    return plain.reuse(base, snapshots, weights, out)


def adjust(base: Tensor, residual: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``base + residual * scale + shift``.

    Args:
        base: ``(batch, tokens, dim)``.
        residual: of the same shape.
        scale: the scale of each channel, ``(dim,)``.
        shift: the shift of each channel, ``(dim,)``.
    """
    tensors = (base, residual, scale, shift)
    if suits(tensors) and all(tensor.is_contiguous() for tensor in tensors):
        out = torch.empty_like(base)
        if attempt("adjust", base, out, *tensors):
            return out
    return plain.adjust(base, residual, scale, shift)


def distance(current: Tensor, reference: Tensor, order: int = 1) -> Tensor:
    """Relative L1 or L2 distance of each sample, ``(batch,)`` float32; not finite for a reference of zero.

    Args:
        current: ``(batch, ...)``.
        reference: of the same shape; the distance is relative to it.
        order: 1 or 2.
    """
    if suits((current, reference)):
        layout = layout_of((current, reference), merge=False)
        out = torch.empty(len(current), device=current.device)
        if layout is not None and attempt("distance", current, layout, out, current, reference, order):
            return out
    return plain.distance(current, reference, order)


def quantise(tensor: Tensor, dtype: torch.dtype) -> Quantised:
    """Quantise a dense tensor to 8 bits, with a scale for each group of elements.

    Args:
        tensor: ``(batch, ...)``.
        dtype: ``float8_e4m3fn`` or ``int8``.
    """
    if suits((tensor,)):
        values = torch.empty_like(tensor, dtype=dtype)
        scales = torch.empty(grouping_of(tensor, dtype).shape, device=values.device)
        into = Quantised(values, scales, tensor.dtype)
        if attempt("quantise", tensor, into, tensor):
            return into
    return plain.quantise(tensor, dtype)


def restore(
    base: Tensor, snapshots: Sequence[Quantised], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    """``base + sum_j weights[j] * snapshots[j]``, from snapshots in 8 bits.

    Args:
        base: ``(batch, ...)``.
        snapshots: of the same shape.
        weights: one for each snapshot; snapshots of weight 0 are not read.
        out: the tensor to write, which may be the base. By default a new tensor, or the base itself if there
            is nothing to add.
    """
    snapshots, weights = _used(snapshots, weights)
    if weights and suits((base,)):
        into = torch.empty_like(base) if out is None else out
        by_channel = snapshots[0].grouping.by_channel
        layout = layout_of((into, base, *(one.values for one in snapshots)), merge=not by_channel)
        fits = layout is not None and (by_channel or layout.samples == 1 or layout.elements % GROUP == 0)
        if fits and attempt("restore", base, layout, into, base, snapshots, weights):
            return into
    return plain.restore(base, snapshots, weights, out)


def _used(snapshots: Sequence[SnapshotT], weights: Sequence[float]) -> tuple[list[SnapshotT], list[float]]:
    """The snapshots of nonzero weight, and their weights."""
    pairs = [(snapshot, weight) for snapshot, weight in zip(snapshots, weights, strict=True) if weight]
    return [snapshot for snapshot, _ in pairs], [weight for _, weight in pairs]
