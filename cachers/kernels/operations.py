"""What caching does to whole tensors, by a fused kernel where there is one and in plain torch elsewhere.

Kernels run on CUDA devices with Triton, for tensors of 16 or 32 bits that lie alike in memory. All results
stay on the device: nothing here waits for it.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from skipstone.cachers.kernels import reference as plain
from skipstone.cachers.kernels.dispatch import attempt, suits
from skipstone.cachers.kernels.layout import layout_of
from skipstone.cachers.kernels.reference import GROUP, Quantised

SnapshotT = TypeVar("SnapshotT", Tensor, Quantised)


def reuse(
    base: Tensor, snapshots: Sequence[Tensor], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    """``base + sum_j weights[j] * snapshots[j]``.

    Args:
        base: ``(batch, ...)``.
        snapshots: of the same shape; float32 ones may go with another base, as guidance has them.
        weights: one for each snapshot; those of weight 0 are not read.
        out: where to write, which may be the base; by default a new tensor, or the base itself where there is
            nothing to add.
    """
    snapshots, weights = _used(snapshots, weights)
    if weights and suits((base, *snapshots)):
        into = torch.empty_like(base) if out is None else out
        layout = layout_of((into, base, *snapshots))
        if layout is not None and attempt("reuse", layout, into, base, snapshots, weights):
            return into
    return plain.reuse(base, snapshots, weights, out)


def adjust(
    base: Tensor,
    snapshots: Sequence[Tensor],
    weights: Sequence[float],
    scale: Tensor,
    shift: Tensor,
    out: Tensor | None = None,
) -> Tensor:
    """``base + scale * sum_j weights[j] * snapshots[j] + shift``.

    Args:
        base: ``(batch, tokens, dim)``.
        snapshots: of the same shape.
        weights: one for each snapshot; those of weight 0 are not read.
        scale: of each channel, ``(dim,)``.
        shift: of each channel, likewise.
        out: where to write, which may be the base; by default a new tensor.
    """
    snapshots, weights = _used(snapshots, weights)
    tensors = (base, *snapshots, scale, shift)
    if suits(tensors) and all(tensor.is_contiguous() for tensor in tensors):
        into = torch.empty_like(base) if out is None else out
        if into.is_contiguous() and attempt("adjust", into, base, snapshots, weights, scale, shift):
            return into
    return plain.adjust(base, snapshots, weights, scale, shift, out)


def distance(current: Tensor, reference: Tensor, order: int = 1) -> Tensor:
    """Relative L1 or L2 distance of each sample, ``(batch,)`` float32, not finite for a reference of zero.

    Args:
        current: ``(batch, ...)``.
        reference: of the same shape, which the distance is relative to.
        order: 1 or 2.
    """
    if suits((current, reference)):
        layout = layout_of((current, reference), merge=False)
        out = torch.empty(len(current), device=current.device)
        if layout is not None and attempt("distance", layout, out, current, reference, order):
            return out
    return plain.distance(current, reference, order)


def snapshot(outputs: Tensor, inputs: Tensor) -> Quantised:
    """The residual ``outputs - inputs`` in fp8.

    Args:
        outputs: ``(batch, ...)``.
        inputs: of the same shape.
    """
    if suits((outputs, inputs)):
        values = torch.empty_like(outputs, dtype=torch.float8_e4m3fn)
        into = Quantised(values, torch.empty(-(-values.numel() // GROUP), device=values.device))
        layout = layout_of((values, outputs, inputs))
        fits = layout is not None and (layout.samples == 1 or layout.elements % GROUP == 0)
        if fits and attempt("snapshot", layout, into, outputs, inputs):
            return into
    return plain.snapshot(outputs, inputs)


def restore(
    base: Tensor, snapshots: Sequence[Quantised], weights: Sequence[float], out: Tensor | None = None
) -> Tensor:
    """``base + sum_j weights[j] * snapshots[j]`` from snapshots in fp8.

    Args:
        base: ``(batch, ...)``.
        snapshots: of the same shape.
        weights: one for each snapshot; those of weight 0 are not read.
        out: where to write, which may be the base; by default a new tensor, or the base itself where there is
            nothing to add.
    """
    snapshots, weights = _used(snapshots, weights)
    if weights and suits((base,)):
        into = torch.empty_like(base) if out is None else out
        layout = layout_of((into, base, *(snapshot.values for snapshot in snapshots)))
        fits = layout is not None and (layout.samples == 1 or layout.elements % GROUP == 0)
        if fits and attempt("restore", layout, into, base, snapshots, weights):
            return into
    return plain.restore(base, snapshots, weights, out)


def gram(tensor: Tensor, places: Tensor, ring: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Some elements of each sample, and their products with themselves and with earlier ones.

    Args:
        tensor: ``(batch, ...)``.
        places: which elements, ``(count,)`` positions in a contiguous sample.
        ring: earlier elements, ``(batch, count)`` float32 each.

    Returns:
        The elements, ``(batch, count)`` float32, and the products, ``(batch, 1 + len(ring))`` float32, the
        one with themselves first.
    """
    if suits((tensor, *ring)) and tensor[0].is_contiguous():
        seen = torch.empty(len(tensor), len(places), device=tensor.device)
        row = torch.empty(len(tensor), 1 + len(ring), device=tensor.device)
        if attempt("gram", seen, row, tensor, places, ring):
            return seen, row
    return plain.gram(tensor, places, ring)


def _used(snapshots: Sequence[SnapshotT], weights: Sequence[float]) -> tuple[list[SnapshotT], list[float]]:
    """The snapshots that count, and their weights."""
    pairs = [(snapshot, weight) for snapshot, weight in zip(snapshots, weights, strict=True) if weight]
    return [snapshot for snapshot, _ in pairs], [weight for _, weight in pairs]
