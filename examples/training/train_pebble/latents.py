"""Keep a ring of encoded scenes with their captions on the GPU, and renew the oldest during training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from captions import Scene
from motions import Dance
from scenes import clip_times, describe, draw_batch, render

Encode = Callable[[torch.Tensor], torch.Tensor]
Tokenize = Callable[[list[Scene]], tuple[torch.Tensor, ...]]


@dataclass
class Studio:
    """Everything it takes to make encoded scenes."""

    atlas: torch.Tensor
    names: list[str]
    encode: Encode
    tokenize: Tokenize
    generator: torch.Generator
    dance: Dance
    frames: int

    @torch.no_grad()
    def shoot(self, count: int) -> tuple[torch.Tensor, ...]:
        """Latents and token ids of `count` new scenes."""
        batch = draw_batch(count, len(self.names), self.generator)
        times = clip_times(count, self.atlas.device, self.frames)
        latents = self.encode(render(batch, self.atlas, times, self.dance))
        return latents.bfloat16(), *(
            ids.to(self.atlas.device) for ids in self.tokenize(describe(batch, self.names))
        )


class Ring:
    """A pool of scenes; each column of the pool is one tensor."""

    def __init__(self, studio: Studio, capacity: int, chunk: int) -> None:
        self.studio, self.chunk, self.capacity = studio, chunk, capacity
        first = studio.shoot(chunk)
        self.columns = [column.new_empty((capacity, *column.shape[1:])) for column in first]
        self.oldest = 0
        for _ in range(capacity // chunk):
            self.refresh()

    def refresh(self) -> None:
        """Replace the oldest scenes."""
        rows = slice(self.oldest, self.oldest + self.chunk)
        for column, fresh in zip(self.columns, self.studio.shoot(self.chunk), strict=True):
            column[rows] = fresh
        self.oldest = (self.oldest + self.chunk) % self.capacity

    def draw(self, count: int) -> list[torch.Tensor]:
        """Random scenes."""
        rows = torch.randint(0, self.capacity, (count,), device=self.columns[0].device)
        return [column[rows] for column in self.columns]
