"""The distance of two tensors, in one pass over both and a second one over a few sums."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from skipstone.cachers.kernels.layout import Layout

BLOCK = 2048
WARPS = 4

STAGES = 4
"""How many blocks are loaded at once."""

PROGRAMS = 2
"""How many programs run on each multiprocessor."""


@triton.jit(do_not_specialize=["programs"])  # Where it is 1, it would be no tensor, and could not be cast.
def _sums(
    moved, size, current, reference, elements, programs, current_stride, reference_stride,
    order: tl.constexpr, block: tl.constexpr, stages: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    sample = (program // programs).to(tl.int64)
    current += sample * current_stride
    reference += sample * reference_stride
    at = tl.arange(0, block)
    moves = tl.zeros([block], tl.float32)
    sizes = tl.zeros([block], tl.float32)
    begin = (program % programs).to(tl.int64) * block
    for first in tl.range(begin, elements, programs.to(tl.int64) * block, num_stages=stages):
        inside = at < elements - first
        old = tl.load(reference + first + at, mask=inside, other=0.0).to(tl.float32)
        change = tl.load(current + first + at, mask=inside, other=0.0).to(tl.float32) - old
        moves += tl.abs(change) if order == 1 else change * change
        sizes += tl.abs(old) if order == 1 else old * old
    tl.store(moved + program, tl.sum(moves, 0))
    tl.store(size + program, tl.sum(sizes, 0))


@triton.jit
def _ratio(out, moved, size, programs, order: tl.constexpr, wide: tl.constexpr):
    sample = tl.program_id(0)
    at = tl.arange(0, wide)
    moves = tl.sum(tl.load(moved + sample * programs + at, mask=at < programs, other=0.0), 0)
    sizes = tl.sum(tl.load(size + sample * programs + at, mask=at < programs, other=0.0), 0)
    ratio = moves / sizes
    tl.store(out + sample, ratio if order == 1 else tl.sqrt(ratio))


def distance(layout: Layout, out: Tensor, current: Tensor, reference: Tensor, order: int) -> None:
    """Write the relative L1 or L2 distance of each sample, ``(samples,)``, always summed in the same order.

    Args:
        layout: the layout of ``(current, reference)``, with separate samples.
        order: 1 or 2.
    """
    samples, blocks = layout.samples, triton.cdiv(layout.elements, BLOCK)
    programs = min(blocks, max(1, PROGRAMS * _multiprocessors(current.device) // samples))
    moved, size = torch.empty(2, samples * programs, device=current.device).unbind()
    _sums[(samples * programs,)](
        moved, size, current, reference, layout.elements, programs, *layout.strides, order, BLOCK,
        STAGES,
        num_warps=WARPS,
    )  # fmt: skip
    _ratio[(samples,)](out, moved, size, programs, order, triton.next_power_of_2(programs))


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
