"""Random elements of a tensor, and the error of their estimate from earlier ones, in one launch."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

WARPS = 16


@triton.jit
def _deviation(seen, squared, tensor, indices, strides, ring, weights, count, stride, wide: tl.constexpr):
    sample = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, wide)
    inside = at < count
    place = sample * stride + tl.zeros([wide], tl.int64)
    for axis in tl.static_range(len(indices)):
        place += tl.load(indices[axis] + at, mask=inside, other=0) * strides[axis]
    value = tl.load(tensor + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(seen + sample * count + at, value, mask=inside)
    error = value
    for n in tl.static_range(len(ring)):
        error -= weights[n] * tl.load(ring[n] + sample * count + at, mask=inside, other=0.0)
    tl.store(squared + sample, tl.sum(error * error, 0) / tl.sum(value * value, 0))


def deviation(
    seen: Tensor,
    squared: Tensor,
    tensor: Tensor,
    indices: Sequence[Tensor],
    ring: Sequence[Tensor],
    weights: Sequence[float],
) -> None:
    """Write these elements of each sample, and the relative squared error of their estimate.

    Args:
        seen: ``(batch, count)``.
        squared: ``(batch,)``.
        tensor: ``(batch, ...)`` of any layout.
        indices: for each axis of a sample, contiguous, ``(count,)``.
        ring: earlier elements, contiguous, ``(batch, count)`` each.
        weights: one for each tensor of the ring.
    """
    count = seen.shape[1]
    stride, *strides = tensor.stride()
    _deviation[(len(tensor),)](
        seen, squared, tensor, tuple(indices), tuple(strides), tuple(ring), tuple(weights), count, stride,
        triton.next_power_of_2(count), num_warps=WARPS,
    )  # fmt: skip
