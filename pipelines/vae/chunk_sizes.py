"""How many latent frames to run at a time: as many as asked for, or as fit the memory."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

MOST = 8
"""The largest chunk that is taken where none is asked for: larger ones are no faster."""

ON_CPU = 2
"""The chunk on a CPU where none is asked for: twice the memory of 1, for a third less work in decoders that look ahead."""

SHARE = 0.8
"""The share of the free memory that a chunk may take: the largest piece that is free is smaller than all."""

T = TypeVar("T")


class ChunkSizes:
    """The sizes of the chunks of one video.

    Without a size that is asked for, the first chunk has one latent frame, so that the first frames come
    early. On a CUDA device the second chunk shows how much memory a latent frame takes.

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

    def split(self, video: Tensor, step: int) -> Iterator[Tensor]:
        """The chunks of a video, each when it is its turn.

        Args:
            video: ``(batch, channels, frames, height, width)``.
            step: how many of its frames belong to one latent frame, but for the first one.
        """
        begin, needed, self.chunks = 0, None, 0
        while begin < video.shape[2]:
            self._now = self._next(video.device, needed)
            end = begin + self._now * step if begin else 1 + (self._now - 1) * step
            before = _begin_peak(video.device)
            yield video[:, :, begin:end]
            needed = (_peak(video.device) - before) / self._now
            begin, self.chunks = end, self.chunks + 1

    def halve(self) -> bool:
        """Take smaller chunks from now on; False where they are as small as can be."""
        if self._now == 1:
            return False
        self.most = self._now // 2
        self.notes.append(f"chunks of {self._now} did not fit the memory, so {self.most} at a time")
        return True

    def _next(self, device: torch.device, needed: float | None) -> int:
        if self._is_asked:
            return self.most
        if self.chunks == 0 or (self.chunks == 1 and device.type == "cuda"):
            return 1
        if device.type != "cuda":
            return min(self.most, ON_CPU)
        return self._now if self.chunks > 2 or not needed else self._fitting(device, needed)

    def _fitting(self, device: torch.device, needed: float) -> int:
        return max(1, min(self.most, int(SHARE * _free(device) / needed)))


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


def give_back() -> None:
    """Give the memory that the allocator keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _begin_peak(device: torch.device) -> int:
    """Begin to measure a peak; how much memory is in use."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _free(device: torch.device) -> int:
    """The bytes that are free on a device, or kept by the allocator for later."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
