"""Clips as the model itself would have made them: what a causal model is to see before a chunk.

A model that has seen only true clips before a chunk makes its errors worse from chunk to chunk. A rehearsed
chunk is the true one, noised and denoised by the model in a few steps with the chunks before it in sight. Its
content and phase are those of the true clip, so the true next chunk still has to follow; its errors are the
model's.
"""

from itertools import pairwise

import torch
from causal_pass import Layout, velocities
from diffusers import WanTransformer3DModel
from models import VIDEO_SHIFT
from torch import Tensor

STEPS = 4
LEAST = 0.3
"""The least noise level that a chunk is denoised from, of 1."""

FIRST = 0.6
"""The first chunk is denoised from so much of it: from pure noise it would be another scene."""

REHEARSED_SHARE = 0.5
"""How many of the chunks before a chunk are rehearsed ones."""


def mixture(true: Tensor, rehearsed: Tensor) -> Tensor:
    """Some chunks of each, ``(batch, chunk, ...)``."""
    taken = torch.rand(true.shape[:2], device=true.device) < REHEARSED_SHARE
    return torch.where(spread(taken), rehearsed, true)


def spread(levels: Tensor) -> Tensor:
    """A number for each chunk, to be used with chunks."""
    return levels[..., None, None, None, None]


def start_levels(batch: int, layout: Layout, device: torch.device) -> Tensor:
    """The noise levels that a clip's chunks are denoised from, ``(batch, chunk)``."""
    levels = LEAST + (1 - LEAST) * torch.rand(batch, layout.chunks, device=device)
    return torch.cat([levels[:, :1] * FIRST, levels[:, 1:]], 1)


def steps() -> list[float]:
    """The noise levels of the denoising, as shares of where it starts."""
    even = [1 - step / STEPS for step in range(STEPS + 1)]
    return [VIDEO_SHIFT * level / (1 + (VIDEO_SHIFT - 1) * level) for level in even]


@torch.no_grad()
def rehearse(
    transformer: WanTransformer3DModel, true: Tensor, rehearsed: Tensor, text: Tensor, layout: Layout
) -> Tensor:
    """Rehearsed chunks, with earlier rehearsals among the chunks in sight.

    Args:
        transformer: attends in chunks.
        true: a clip's chunks, ``(batch, chunk, channels, frames, height, width)``.
        rehearsed: those of an earlier rehearsal.
        text: of the captions.
        layout: of a pass.
    """
    before = mixture(true, rehearsed)[:, : layout.clean]
    zeros = torch.zeros(before.shape[:2], device=true.device)
    start = layout.noisy(start_levels(len(true), layout, true.device))
    chunks = layout.noisy(true)
    chunks = chunks + spread(start) * (torch.randn_like(chunks) - chunks)
    levels = steps()
    for level, lower in pairwise(levels):
        velocity = velocities(
            transformer, torch.cat([before, chunks], 1), torch.cat([zeros, level * start], 1), text, layout
        )
        chunks = chunks + spread(start) * (lower - level) * velocity.float()
    return chunks[:, layout.firsts - 1 :]
