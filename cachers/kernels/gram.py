"""A tensor's random coordinates and their products with earlier ones, in one launch."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

WARPS = 8


@triton.jit
def _gram(seen, row, tensor, places, ring, count, stride, wide: tl.constexpr):
    sample = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, wide)
    inside = at < count
    place = tl.load(places + at, mask=inside, other=0)
    value = tl.load(tensor + sample * stride + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(seen + sample * count + at, value, mask=inside)
    row += sample * (len(ring) + 1)
    tl.store(row, tl.sum(value * value, 0))
    for n in tl.static_range(len(ring)):
        earlier = tl.load(ring[n] + sample * count + at, mask=inside, other=0.0)
        tl.store(row + n + 1, tl.sum(value * earlier, 0))


def gram(seen: Tensor, row: Tensor, tensor: Tensor, places: Tensor, ring: Sequence[Tensor]) -> None:
    """Write the elements of each sample, and their products with themselves and with earlier ones.

    Args:
        seen: ``(batch, count)``.
        row: ``(batch, 1 + len(ring))``.
        tensor: of contiguous samples.
        places: ``(count,)`` positions in a sample.
        ring: contiguous, ``(batch, count)`` each.
    """
    count = len(places)
    _gram[(len(tensor),)](
        seen, row, tensor, places, tuple(ring), count, tensor.stride(0), triton.next_power_of_2(count),
        num_warps=WARPS,
    )  # fmt: skip
