"""Add weighted snapshots to a base in one pass, with float32 sums."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.layout import Layout

BLOCK = 2048
"""Elements of one program: a load of 16 bytes per thread and tensor in half precision."""

WARPS = 8


@triton.jit
def _reuse(
    out, base, snapshots, weights, blocks, elements, out_stride, base_stride, strides, block: tl.constexpr
):
    program = tl.program_id(0)
    sample = (program // blocks).to(tl.int64)
    first = (program % blocks).to(tl.int64) * block
    at = tl.arange(0, block)
    inside = at < elements - first
    total = tl.load(base + sample * base_stride + first + at, mask=inside, other=0.0).to(tl.float32)
    for n in tl.static_range(len(weights)):
        place = snapshots[n] + sample * strides[n] + first
        total += weights[n] * tl.load(place + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + sample * out_stride + first + at, total.to(out.dtype.element_ty), mask=inside)


def reuse(
    layout: Layout, out: Tensor, base: Tensor, snapshots: Sequence[Tensor], weights: Sequence[float]
) -> None:
    """Write ``base + sum_j weights[j] * snapshots[j]`` to ``out``, which may be ``base``.

    Args:
        layout: the layout of ``(out, base, *snapshots)``.
    """
    blocks = triton.cdiv(layout.elements, BLOCK)
    out_stride, base_stride, *strides = layout.strides
    _reuse[(layout.samples * blocks,)](
        out, base, tuple(snapshots), tuple(weights), blocks, layout.elements, out_stride, base_stride,
        tuple(strides), BLOCK, num_warps=WARPS,
    )  # fmt: skip
