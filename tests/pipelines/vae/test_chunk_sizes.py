"""Chunks are as large as asked for, or as the memory has room for."""

import pytest
import torch

from skipstone.pipelines.vae.chunk_sizes import ChunkSizes


class Memory:
    """A memory in which a latent frame takes so much, and other work leaves so much free."""

    def __init__(self, takes: int, free: int) -> None:
        self.takes = takes
        self.room = free
        self.size = 0
        self.measured = 0

    def begin(self) -> None:
        self.measured += 1

    def taken(self) -> int:
        return self.takes * self.size

    def free(self) -> int:
        return self.room


def sizes(sizes: ChunkSizes, frames: int, memory: Memory | None = None, step: int = 1) -> list[int]:
    found = []
    for chunk in sizes.split(torch.zeros(1, 1, frames, 1, 1), step, memory):
        found.append(chunk.shape[2])
        if memory is not None:
            memory.size = found[-1]
    return found


def test_asked_for_they_are_all_alike() -> None:
    chunks = ChunkSizes(3)
    assert sizes(chunks, 8) == [3, 3, 2]
    assert chunks.chunks == 3


def test_the_first_chunk_of_an_encoder_has_fewer_frames() -> None:
    assert sizes(ChunkSizes(2), 17, step=4) == [5, 8, 4]


def test_where_memory_cannot_be_asked_they_are_of_two() -> None:
    assert sizes(ChunkSizes(None), 8) == [1, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("free", "wanted"),
    [(10**6, [1, 1, 2, 4, 8, 8, 8, 1]), (400, [1, 1, 2, 3, 3, 3]), (10, [1, 1, 1, 1])],
)
def test_they_grow_to_what_fits(free: int, wanted: list[int]) -> None:
    assert sizes(ChunkSizes(None), sum(wanted), Memory(100, free)) == wanted


def test_they_shrink_when_a_latent_frame_takes_more_than_before() -> None:
    """As in a decoder that looks ahead, whose first chunks do not reach its last parts."""
    memory = Memory(1, 400)
    found = []
    for chunk in ChunkSizes(None).split(torch.zeros(1, 1, 20, 1, 1), 1, memory):
        found.append(chunk.shape[2])
        memory.size, memory.takes = found[-1], 100 if len(found) > 3 else 1
    assert found == [1, 1, 2, 4, 3, 3, 3, 3]


def test_halved_they_stay_small() -> None:
    chunks = ChunkSizes(6)
    stream = chunks.split(torch.zeros(1, 1, 20, 1, 1), 1)
    next(stream)
    assert chunks.halve()
    assert sizes(chunks, 7) == [3, 3, 1]
    assert chunks.notes == ["chunks of 6 did not fit the memory, so 3 at a time"]
    assert sizes(ChunkSizes(6, chunks.most), 7) == [3, 3, 1]
    assert chunks.halve() is False or chunks.most == 1
