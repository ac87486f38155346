"""How many latent frames to run at a time: as many as asked for, or as fit the memory."""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TypeVar

import torch
from torch import Tensor

from skipstone.pipelines.vae.device_memory import DeviceMemory, give_back, memory_of

MOST = 8
"""The largest chunk that is taken where none is asked for."""

UNMEASURED = 2
"""The chunk where none is asked for and the memory cannot be measured, as on a CPU.

Decoders that look ahead compute fewer frames again than with 1.
"""

SHARE = 0.8
"""The share of the free memory that a chunk may take: the largest piece that is free is smaller than all."""

T = TypeVar("T")


class ChunkSizes:
    """The sizes of the chunks of one video.

    Without a size that is asked for, the first chunk has one latent frame, so that the first frames come
    early. On a CUDA device the chunks show how much memory a latent frame takes.

    Args:
        asked: the size that is asked for; None for as large as fits.
        most: the largest one that is known to fit; None if that is not known.
    """

    def __init__(self, asked: int | None, most: int | None = None) -> None:
        self._is_asked = asked is not None
        self.most = min(asked or MOST, most or asked or MOST)
        self.notes: list[str] = []
        self.chunks = 0
        self._now = 1

    def split(self, video: Tensor, step: int, memory: DeviceMemory | None = None) -> Iterator[Tensor]:
        """The chunks of a video, each when it is its turn.

        Args:
            video: ``(batch, channels, frames, height, width)``.
            step: how many of its frames belong to one latent frame, but for the first one.
            memory: what the chunks are run in; None for that of the video's device.
        """
        begin, self.chunks = 0, 0
        for size in self._sizes(memory or memory_of(video.device)):
            self._now = size
            end = begin + size * step if begin else 1 + (size - 1) * step
            yield video[:, :, begin:end]
            begin, self.chunks = end, self.chunks + 1
            if begin >= video.shape[2]:
                return

    def halve(self) -> bool:
        """Take smaller chunks from now on; False where they are as small as can be."""
        if self._now == 1:
            return False
        self.most = self._now // 2
        self.notes.append(f"chunks of {self._now} did not fit the memory, so {self.most} at a time")
        return True

    def _sizes(self, memory: DeviceMemory | None) -> Iterator[int]:
        if self._is_asked:
            return repeat(self.most)
        return chain([1], repeat(min(UNMEASURED, self.most))) if memory is None else self._fit(memory)

    def _fit(self, memory: DeviceMemory) -> Iterator[int]:
        """As many as fit by what the chunks before took, and at most twice as many as the last one."""
        # Not before the second chunk has all parts what they remember.
        yield 1
        size, needed = 1, 1.0
        while True:
            memory.begin()
            yield size
            needed = max(needed, memory.taken() / size)
            size = max(1, min(2 * size, self.most, int(SHARE * memory.free() / needed)))


def halving(sizes: ChunkSizes, run: Callable[[], T]) -> T:
    """Run with smaller chunks until they fit the memory.

    Raises:
        OutOfMemoryError: chunks of one latent frame do not.
    """
    while True:
        try:
            return run()
        except torch.OutOfMemoryError:
            if not sizes.halve():
                raise
        # Not before the error, and with it what it holds, is gone.
        give_back()
