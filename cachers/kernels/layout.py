"""The layout of tensors in memory: whether a kernel can read several of them in parallel."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Tensors of one shape whose samples are dense and have the same layout.

    Args:
        samples: how many samples each tensor has.
        elements: how many elements a sample has, without gaps.
        strides: for each tensor the distance of its samples in memory.
    """

    samples: int
    elements: int
    strides: tuple[int, ...]


def layout_of(tensors: Sequence[Tensor], merge: bool = True) -> Layout | None:
    """The common layout of some tensors; None if their layouts differ too much.

    Args:
        tensors: of any shapes.
        merge: whether all samples may be treated as one.
    """
    first = tensors[0]
    if any(tensor.shape != first.shape for tensor in tensors) or first.ndim < 2 or not first.numel():
        return None
    if not all(tensor.is_contiguous() for tensor in tensors):
        orders = {_strides(tensor) for tensor in tensors}
        if len(orders) > 1 or not _is_dense(first):
            return None
    samples = len(first)
    elements = first.numel() // samples
    strides = tuple(tensor.stride(0) if samples > 1 else elements for tensor in tensors)
    if merge and all(stride == elements for stride in strides):
        return Layout(1, first.numel(), (0,) * len(tensors))
    return Layout(samples, elements, strides)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """The strides within a sample, without those of axes of size 1."""
    return tuple(s if n > 1 else 0 for n, s in zip(tensor.shape[1:], tensor.stride()[1:], strict=True))


def _is_dense(tensor: Tensor) -> bool:
    """Whether a sample's elements fill its memory, in any order."""
    axes = sorted(zip(tensor.stride()[1:], tensor.shape[1:], strict=True))
    axes = [(stride, size) for stride, size in axes if size > 1]
    return all(stride == prod(size for _, size in axes[:n]) for n, (stride, _) in enumerate(axes))
