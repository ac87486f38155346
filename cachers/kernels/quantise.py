"""A tensor in 8 bits, with its scales, in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.reference import GROUP, LARGEST, Quantised

GROUPS = 64
"""How many groups one program quantises."""

WARPS = 8


@triton.jit
def _quantise(
    values, scales, tensor, elements, largest: tl.constexpr, whole: tl.constexpr, groups: tl.constexpr,
    size: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0).to(tl.int64) * groups * size
    group = tl.arange(0, groups)
    at = group[:, None] * size + tl.arange(0, size)[None, :]
    inside = at < elements - first
    given = tl.load(tensor + first + at, mask=inside, other=0.0).to(tl.float32)
    # NaN has no order: what holds one gets a scale that is not finite either.
    scale = tl.max(tl.where(given == given, tl.abs(given), float("inf")), 1) / largest
    scale = tl.where(scale == 0, 1.0, scale)
    scaled = given * (1.0 / scale)[:, None]
    if whole:
        scaled = tl.floor(scaled + 0.5)
    tl.store(values + first + at, scaled.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + first // size + group, scale, mask=group * size < elements - first)


def quantise(into: Quantised, tensor: Tensor) -> None:
    """Write a dense tensor in 8 bits of the same layout."""
    elements, dtype = tensor.numel(), into.values.dtype
    _quantise[(triton.cdiv(elements, GROUPS * GROUP),)](
        into.values, into.scales, tensor, elements, LARGEST[dtype], dtype == torch.int8, GROUPS, GROUP,
        num_warps=WARPS,
    )  # fmt: skip
