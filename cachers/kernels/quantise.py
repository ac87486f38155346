"""A tensor in fp8, with its scales, in one pass."""

import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.reference import GROUP, LARGEST, Quantised

GROUPS = 64
"""How many groups one program quantises."""

WARPS = 8


@triton.jit
def _quantise(
    values, scales, tensor, elements, largest: tl.constexpr, groups: tl.constexpr, size: tl.constexpr
):
    first = tl.program_id(0).to(tl.int64) * groups * size
    group = tl.arange(0, groups)
    at = group[:, None] * size + tl.arange(0, size)[None, :]
    inside = at < elements - first
    given = tl.load(tensor + first + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(given), 1) / largest
    scale = tl.where(scale > 0, scale, 1.0)
    scaled = given * (1.0 / scale)[:, None]
    tl.store(values + first + at, scaled.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + first // size + group, scale, mask=group * size < elements - first)


def quantise(into: Quantised, tensor: Tensor) -> None:
    """Write a dense tensor in fp8 of the same layout."""
    elements = tensor.numel()
    _quantise[(triton.cdiv(elements, GROUPS * GROUP),)](
        into.values, into.scales, tensor, elements, LARGEST, GROUPS, GROUP, num_warps=WARPS
    )
