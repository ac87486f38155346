"""The sum of weighted snapshots, scaled and shifted in each channel and added to a base, in one pass."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""About how many elements one program adds up, in whole rows."""

WARPS = 8


@triton.jit
def _adjust(out, base, snapshots, weights, scale, shift, rows, dim, tile: tl.constexpr, wide: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)[:, None]
    column = tl.arange(0, wide)[None, :]
    inside = (row < rows) & (column < dim)
    at = row * dim + column
    total = tl.zeros([tile, wide], tl.float32)
    for n in tl.static_range(len(weights)):
        total += weights[n] * tl.load(snapshots[n] + at, mask=inside, other=0.0).to(tl.float32)
    total *= tl.load(scale + column, mask=column < dim, other=0.0).to(tl.float32)
    total += tl.load(shift + column, mask=column < dim, other=0.0).to(tl.float32)
    total += tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


def adjust(
    out: Tensor,
    base: Tensor,
    snapshots: Sequence[Tensor],
    weights: Sequence[float],
    scale: Tensor,
    shift: Tensor,
) -> None:
    """Write ``base + scale * sum_j weights[j] * snapshots[j] + shift`` to ``out``, which may be ``base``.

    All are contiguous, ``(..., dim)``, but the scale and the shift, ``(dim,)``.
    """
    dim = base.shape[-1]
    rows, wide = base.numel() // dim, triton.next_power_of_2(dim)
    tile = max(1, BLOCK // wide)
    _adjust[(triton.cdiv(rows, tile),)](
        out, base, tuple(snapshots), tuple(weights), scale, shift, rows, dim, tile, wide, num_warps=WARPS
    )
