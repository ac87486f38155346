"""Scale and shift each channel of a residual and add it to a base, in one pass."""

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
"""Elements of one program."""

WARPS = 4


@triton.jit
def _adjust(out, base, residual, scale, shift, elements, dim, block: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < elements
    channel = (at % dim).to(tl.int32)
    total = tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    total *= tl.load(scale + channel, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(shift + channel, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


def adjust(out: Tensor, base: Tensor, residual: Tensor, scale: Tensor, shift: Tensor) -> None:
    """Write ``base + residual * scale + shift``; all are contiguous, scale and shift ``(dim,)``."""
    elements = base.numel()
    _adjust[(triton.cdiv(elements, BLOCK),)](
        out, base, residual, scale, shift, elements, base.shape[-1], BLOCK, num_warps=WARPS
    )
