"""RMS norm, SiLU and the empty frames before a causal convolution: one pass forward, one backward."""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

EPSILON = 1e-12
TILE = 2048


def reference(frames: Tensor, gamma: Tensor, past: int) -> Tensor:
    """What the kernels compute: (batch, channels, past + time, height, width), the first frames zero."""
    scale = (frames.square().mean(1, keepdim=True) + EPSILON).rsqrt()
    return F.pad(F.silu(frames * scale * gamma), (0, 0, 0, 0, past, 0))


@triton.jit
def _forward(
    frames,
    gamma,
    out,
    rows,
    clip,
    lead,
    channels,
    epsilon: tl.constexpr,
    tile: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)[:, None]
    channel = tl.arange(0, wide)[None, :]
    inside = (row < rows) & (channel < channels)
    source = row - (row // clip + 1) * lead
    there = inside & (row % clip >= lead)
    value = tl.load(frames + source * channels + channel, mask=there, other=0.0).to(tl.float32)
    weight = tl.load(gamma + channel, mask=channel < channels, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / channels + epsilon)[:, None]
    grown = value * scale * weight
    tl.store(out + row * channels + channel, grown * tl.sigmoid(grown), mask=inside)


@triton.jit
def _backward(
    frames,
    gamma,
    given,
    out,
    parts,
    rows,
    clip,
    lead,
    channels,
    epsilon: tl.constexpr,
    tile: tl.constexpr,
    wide: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)[:, None]
    channel = tl.arange(0, wide)[None, :]
    inside = (row < rows) & (channel < channels)
    padded = row + (row // (clip - lead) + 1) * lead
    value = tl.load(frames + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
    slope = tl.load(given + padded * channels + channel, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(gamma + channel, mask=channel < channels, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, 1) / channels + epsilon)[:, None]
    unit = value * scale
    gate = tl.sigmoid(unit * weight)
    slope = slope * gate * (1 + unit * weight * (1 - gate))
    tl.store(parts + tl.program_id(0) * wide + tl.arange(0, wide), tl.sum(slope * unit, 0))
    slope = slope * weight
    shared = (tl.sum(slope * unit, 1) / channels)[:, None]
    tl.store(out + row * channels + channel, (slope - unit * shared) * scale, mask=inside)


class _Fused(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, frames: Tensor, gamma: Tensor, past: int) -> Tensor:
        count, channels, time, height, width = frames.shape
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
        out = frames.new_empty(count, past + time, height, width, channels).permute(0, 4, 1, 2, 3)
        clip, lead = (past + time) * height * width, past * height * width
        ctx.save_for_backward(frames, gamma)
        ctx.sizes = clip, lead, channels
        row = triton.next_power_of_2(channels)
        tile = TILE // row
        grid = (triton.cdiv(count * clip, tile),)
        _forward[grid](frames, gamma, out, count * clip, clip, lead, channels, EPSILON, tile, row)
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, given: Tensor) -> tuple[Tensor, Tensor, None]:
        frames, gamma = ctx.saved_tensors
        given = given.contiguous(memory_format=torch.channels_last_3d)
        clip, lead, channels = ctx.sizes
        rows, row = frames.numel() // channels, triton.next_power_of_2(channels)
        tile = TILE // row
        grid = (triton.cdiv(rows, tile),)
        out = torch.empty_like(frames)
        parts = torch.empty(grid[0], row, device=frames.device)
        _backward[grid](frames, gamma, given, out, parts, rows, clip, lead, channels, EPSILON, tile, row)
        return out, parts.sum(0)[:channels].view_as(gamma), None


def norm_silu(frames: Tensor, gamma: Tensor, past: int) -> Tensor:
    """Normalised over the channels, times gamma, through SiLU, behind `past` empty frames."""
    if frames.is_cuda:
        return _Fused.apply(frames, gamma, past)
    return reference(frames, gamma, past)
