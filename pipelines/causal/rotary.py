"""A model's own rotary embedding for other frames than those that it is given."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from skipstone.pipelines.model.class_swap import Swap, give_subclass

FramesBefore = Callable[[Tensor], int]
"""How many frames stand before latents, ``(batch, channels, frames, height, width)``."""


def shift_frames(rope: Any, before: FramesBefore) -> Swap:
    """Let a rotary embedding count frames that are not in its input, before the given ones.

    It then gives the cosines and sines of all of them, and of the given ones at the end.

    Args:
        rope: the embedding's module, which is given the latents.
        before: tells how many frames stand before the given ones.
    """
    cls = type(rope)

    def call(self: Any, hidden_states: Tensor) -> Any:
        count = before(hidden_states)
        if not count:
            return cls.__call__(self, hidden_states)
        # Only its shape is looked at, and an expanded tensor takes no memory.
        longer = hidden_states[:, :, :1].expand(-1, -1, count + hidden_states.shape[2], -1, -1)
        return cls.__call__(self, longer)

    return give_subclass(rope, {"__call__": call})


def last_tokens(rotary: tuple[Tensor, Tensor], tokens: int) -> tuple[Tensor, Tensor]:
    """The cosines and sines of the last tokens."""
    cos, sin = rotary
    return cos[:, -tokens:], sin[:, -tokens:]
