"""A block whose probe is read is as written for other threads."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skipstone.pipelines.model.attention import WatchedCall
from skipstone.pipelines.model.calls import Call
from skipstone.pipelines.model.probes import modulated_input

ONES = torch.ones(1, 4, 2)


class Attention(nn.Module):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return 2 * hidden_states


class Block(nn.Module):
    """Calls itself from another thread before its attention runs."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.answers: list[Tensor] = []

    def forward(self, hidden_states: Tensor) -> Tensor:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: self.answers.append(self(5 * ONES)))
            thread.start()
            thread.join()
        attended: Tensor = self.attn(hidden_states + 1)
        return attended + 1


def stopped(block: Block) -> Tensor | None:
    return modulated_input(Call((0, 0), block, (ONES,), {}))


def watched(block: Block) -> Tensor:
    call = WatchedCall((0, 0), block, (ONES,), {})
    call.run()
    (seen,) = call.seen
    return seen / 2


@pytest.mark.parametrize("read", [stopped, watched])
def test_another_thread_in_the_block_gets_its_answer_and_is_not_read(
    read: Callable[[Block], Tensor | None],
) -> None:
    block = Block()
    seen = read(block)
    assert seen is not None
    assert torch.equal(seen, 2 * ONES)
    assert len(block.answers) == 1
    assert torch.equal(block.answers[0], 13 * ONES)
    assert not block.attn._forward_hooks
    assert not block.attn._forward_pre_hooks
