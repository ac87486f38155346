"""Add weighted snapshots in 8 bits to a base, in one pass, with float32 sums."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.grouping import GROUP, side_by_side
from skipstone.cachers.kernels.layout import Layout
from skipstone.cachers.kernels.reference import Quantised

TILES = {True: (16, 128), False: (GROUP, 16)}
"""How many elements of how many columns one program handles, by channel or adjacent."""

WARPS = 4


@triton.jit
def _restore(
    out, base, snapshots, scales, weights, elements, columns, rows, tiles, blocks, step, column_step,
    out_stride, base_stride, size: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    column = (program % blocks * width + tl.arange(0, width)).to(tl.int64)
    first = program // blocks % tiles * height
    part = (program // (blocks * tiles)).to(tl.int64)
    at = (first + tl.arange(0, height)).to(tl.int64)[:, None] * step + column[None, :] * column_step
    inside = (at < elements) & (column < columns)[None, :]
    total = tl.load(base + part * base_stride + at, mask=inside, other=0.0).to(tl.float32)
    scaled_by = (part * rows + first // size) * columns + column
    for n in tl.static_range(len(weights)):
        scale = tl.load(scales[n] + scaled_by, mask=column < columns, other=0.0)
        value = tl.load(snapshots[n] + part * elements + at, mask=inside, other=0.0).to(tl.float32)
        total += weights[n] * scale[None, :] * value
    tl.store(out + part * out_stride + at, total.to(out.dtype.element_ty), mask=inside)


def restore(
    layout: Layout, out: Tensor, base: Tensor, snapshots: Sequence[Quantised], weights: Sequence[float]
) -> None:
    """Write ``base + sum_j weights[j] * snapshots[j]`` to ``out``, which may be ``base``.

    Args:
        layout: the layout of ``(out, base, *values of the snapshots)``; the snapshots are dense. Its samples
            are the parts of the snapshots' grouping, or whole numbers of groups, or only one.
    """
    grouping = snapshots[0].grouping
    if not grouping.by_channel:
        grouping = side_by_side(layout.samples, layout.elements)
    height, width = TILES[grouping.by_channel]
    tiles, blocks = triton.cdiv(grouping.length, height), triton.cdiv(grouping.columns, width)
    values, scales, _ = zip(*snapshots, strict=True)
    _restore[(grouping.parts * tiles * blocks,)](
        out, base, values, scales, tuple(weights), grouping.elements, grouping.columns, grouping.rows, tiles,
        blocks, grouping.step, 1 if grouping.by_channel else GROUP, *layout.strides[:2], GROUP, height, width,
        num_warps=WARPS,
    )  # fmt: skip
