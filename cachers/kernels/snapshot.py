"""A residual in fp8, in one pass over what entered and what left."""

import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.layout import Layout
from skipstone.cachers.kernels.reference import GROUP, LARGEST, Quantised

GROUPS = 32
"""How many groups one program quantises."""

WARPS = 8


@triton.jit
def _snapshot(
    values, scales, outputs, inputs, blocks, elements, values_stride, outputs_stride, inputs_stride,
    largest: tl.constexpr, groups: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    sample = (program // blocks).to(tl.int64)
    first = (program % blocks).to(tl.int64) * groups * size
    group = tl.arange(0, groups)
    at = group[:, None] * size + tl.arange(0, size)[None, :]
    inside = at < elements - first
    residual = tl.load(outputs + sample * outputs_stride + first + at, mask=inside, other=0.0).to(tl.float32)
    residual -= tl.load(inputs + sample * inputs_stride + first + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(residual), 1) / largest
    scale = tl.where(scale > 0, scale, 1.0)
    quantised = (residual / scale[:, None]).to(values.dtype.element_ty)
    tl.store(values + sample * values_stride + first + at, quantised, mask=inside)
    number = (sample * elements + first) // size
    tl.store(scales + number + group, scale, mask=group * size < elements - first)


def snapshot(layout: Layout, into: Quantised, outputs: Tensor, inputs: Tensor) -> None:
    """Write ``outputs - inputs`` in fp8.

    Args:
        layout: of ``(values, outputs, inputs)``, of which the first are dense. Where there are several
            samples, each is a whole number of groups.
    """
    blocks = triton.cdiv(layout.elements, GROUPS * GROUP)
    _snapshot[(layout.samples * blocks,)](
        into.values, into.scales, outputs, inputs, blocks, layout.elements, *layout.strides, LARGEST, GROUPS,
        GROUP, num_warps=WARPS,
    )  # fmt: skip
