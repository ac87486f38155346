"""Quantise a tensor to 8 bits, with its scales, in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.grouping import GROUP
from skipstone.cachers.kernels.reference import LARGEST, Quantised

COLUMNS = 64
"""How many columns one program quantises, one group of each."""

WARPS = 4

TO_WHOLE = tl.constexpr(1.5 * 2**23)
"""Added to a small number, it leaves the nearest whole number in the last bits of the sum."""


@triton.jit
def _quantise(
    values, scales, tensor, elements, columns, rows, blocks, step, column_step, largest: tl.constexpr,
    whole: tl.constexpr, size: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    column = (program % blocks * width + tl.arange(0, width)).to(tl.int64)
    row = program // blocks % rows
    part = (program // (blocks * rows)).to(tl.int64)
    at = (row * size + tl.arange(0, size)).to(tl.int64)[:, None] * step + column[None, :] * column_step
    inside = (at < elements) & (column < columns)[None, :]
    given = tl.load(tensor + part * elements + at, mask=inside, other=0.0)
    # Without their signs, floats are ordered like their bits, and NaN is the largest.
    if given.dtype.primitive_bitwidth == 16:
        most = tl.max(given.to(tl.int16, bitcast=True) & 0x7FFF, 0).to(tl.int16).to(given.dtype, bitcast=True)
    else:
        most = tl.max(given.to(tl.int32, bitcast=True) & 0x7FFFFFFF, 0).to(given.dtype, bitcast=True)
    scale = most.to(tl.float32) / largest
    scale = tl.where(scale == 0, 1.0, scale)
    scaled = given.to(tl.float32) * (1.0 / scale)[None, :]
    if whole:
        rounded = (scaled + TO_WHOLE).to(tl.int32, bitcast=True).to(tl.int8)
    else:
        rounded = scaled.to(values.dtype.element_ty)
    tl.store(values + part * elements + at, rounded, mask=inside)
    tl.store(scales + (part * rows + row) * columns + column, scale, mask=column < columns)


def quantise(into: Quantised, tensor: Tensor) -> None:
    """Write a dense tensor in 8 bits, in the same layout."""
    grouping, dtype = into.grouping, into.values.dtype
    blocks = triton.cdiv(grouping.columns, COLUMNS)
    _quantise[(grouping.parts * grouping.rows * blocks,)](
        into.values, into.scales, tensor, grouping.elements, grouping.columns, grouping.rows, blocks,
        grouping.step, 1 if grouping.by_channel else GROUP, LARGEST[dtype], dtype == torch.int8, GROUP,
        COLUMNS, num_warps=WARPS,
    )  # fmt: skip
