"""The sum of a base and weighted snapshots in 8 bits, in one pass, with float32 sums."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.layout import Layout
from skipstone.cachers.kernels.reference import GROUP, Quantised

GROUPS = 32
"""How many groups of each snapshot one program adds up."""

WARPS = 8


@triton.jit
def _restore(
    out, base, snapshots, scales, weights, blocks, elements, out_stride, base_stride,
    groups: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    sample = (program // blocks).to(tl.int64)
    first = (program % blocks).to(tl.int64) * groups * size
    group = tl.arange(0, groups)
    at = group[:, None] * size + tl.arange(0, size)[None, :]
    inside = at < elements - first
    total = tl.load(base + sample * base_stride + first + at, mask=inside, other=0.0).to(tl.float32)
    place = sample * elements + first
    for n in tl.static_range(len(weights)):
        scale = tl.load(scales[n] + place // size + group, mask=group * size < elements - first, other=0.0)
        value = tl.load(snapshots[n] + place + at, mask=inside, other=0.0).to(tl.float32)
        total += weights[n] * scale[:, None] * value
    tl.store(out + sample * out_stride + first + at, total.to(out.dtype.element_ty), mask=inside)


def restore(
    layout: Layout, out: Tensor, base: Tensor, snapshots: Sequence[Quantised], weights: Sequence[float]
) -> None:
    """Write ``base + sum_j weights[j] * snapshots[j]`` to ``out``, which may be ``base``.

    Args:
        layout: of ``(out, base, *values of the snapshots)``, of which the last are dense. Where there
            are several samples, each is a whole number of groups.
    """
    blocks = triton.cdiv(layout.elements, GROUPS * GROUP)
    values, scales, _ = zip(*snapshots, strict=True)
    _restore[(layout.samples * blocks,)](
        out, base, values, scales, tuple(weights), blocks, layout.elements, *layout.strides[:2], GROUPS,
        GROUP, num_warps=WARPS,
    )  # fmt: skip
