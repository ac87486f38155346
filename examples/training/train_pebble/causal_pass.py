"""One pass over a clip in which every chunk sees what a rolling window would have held before it.

The pass has the clean chunks at its front and noisy ones behind them. It gives for a noisy chunk what
`skipstone.block_causal` gives once the clean chunks before it are committed.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanAttnProcessor,
    WanTransformer3DModel,
)
from torch import Tensor

from skipstone.pipelines.causal.attention import rotated


@dataclass(frozen=True)
class Layout:
    """Which chunks a pass has.

    Args:
        chunks: how many a clip has.
        frames: latent frames of a chunk.
        window: how many chunks the window holds.
        sink: how many first ones it never drops.
        firsts: how many noisy copies of the first chunk there are.
    """

    chunks: int = 9
    frames: int = 3
    window: int = 4
    sink: int = 1
    firsts: int = 3

    @property
    def clean(self) -> int:
        """How many clean chunks there are: nobody sees the last one."""
        return self.chunks - 1

    @property
    def numbers(self) -> list[int]:
        """The number in the clip of each of the pass's chunks."""
        return [*range(self.clean), *[0] * (self.firsts - 1), *range(self.chunks)]

    def places(self, number: int) -> list[int]:
        """Where in the pass the chunks of a number stand."""
        return [place for place, other in enumerate(self.numbers) if other == number]

    def seen(self, number: int) -> list[int]:
        """The clean chunks that the window holds before a chunk."""
        first = max(number - (self.window - self.sink), self.sink)
        return [*range(min(self.sink, number)), *range(first, number)]

    def noisy(self, chunks: Tensor) -> Tensor:
        """A clip's chunks ``(batch, chunk, ...)`` as they stand behind the clean ones."""
        return torch.cat([chunks[:, :1]] * (self.firsts - 1) + [chunks], 1)


class ChunkedAttention(WanAttnProcessor):
    """Self-attention of a pass: each chunk sees its window and itself, counted from the window's start.

    Args:
        layout: of the pass.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._chunks = len(layout.numbers)
        self._groups = [(layout.places(number), layout.seen(number)) for number in range(layout.chunks)]

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        tokens = hidden_states.shape[1] // self._chunks
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).split(tokens, 1)
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1)).split(tokens, 1)
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1)).split(tokens, 1)
        mixed = list(query)
        for places, seen in self._groups:
            keys, values = (
                torch.cat([torch.cat([*[every[n] for n in seen], every[own]], 1) for own in places])
                for every in (key, value)
            )
            queries = torch.cat([query[own] for own in places])
            cos, sin = (table[:, : keys.shape[1]] for table in rotary_emb)
            queries = rotated(queries, (cos[:, -tokens:], sin[:, -tokens:]))
            made = attend(queries, rotated(keys, (cos, sin)), values).chunk(len(places))
            for index, own in enumerate(places):
                mixed[own] = made[index]
        return attn.to_out[1](attn.to_out[0](torch.cat(mixed, 1).flatten(2)))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of everything to everything, ``(batch, tokens, heads, dim)``."""
    query, key, value = (part.to(value.dtype).transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def attend_in_chunks(transformer: WanTransformer3DModel, layout: Layout) -> None:
    """Let a transformer's self-attention take the chunks of a pass."""
    chunked = ChunkedAttention(layout)
    for block in transformer.blocks:
        block.attn1.set_processor(chunked)


def velocities(
    transformer: WanTransformer3DModel, chunks: Tensor, sigmas: Tensor, text: Tensor, layout: Layout
) -> Tensor:
    """What the transformer predicts for the noisy chunks of a pass.

    Args:
        transformer: attends in chunks.
        chunks: clean and noisy ones, ``(batch, chunk, channels, frames, height, width)``.
        sigmas: the noise level of each, ``(batch, chunk)``.
        text: what it attends to.
        layout: of the pass.
    """
    latents = chunks.transpose(1, 2).flatten(2, 3)
    _, *patch = transformer.config.patch_size
    tokens = layout.frames * (latents.shape[3] // patch[0]) * (latents.shape[4] // patch[1])
    times = (sigmas * 1000).repeat_interleave(tokens, 1)
    predicted = transformer(latents, times, text, return_dict=False)[0]
    return predicted.unflatten(2, (-1, layout.frames)).transpose(1, 2)[:, layout.clean :]
