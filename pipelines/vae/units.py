"""How a part of a decoder is run on the frames of one chunk, with what it remembers of earlier ones."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Forward = Callable[..., Any]


class Unit(Protocol):
    """A part that needs to remember. It is frozen; what it remembers lives in a decode."""

    def new_state(self) -> Any:
        """What it remembers at the beginning of a video."""

    def run(self, forward: Forward, state: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The part's output for the new frames.

        Args:
            forward: the part, as it is written.
            state: what it remembers.
            args: its arguments, of which the first one holds the new frames, ``(batch, channels, frames,
                height, width)``.
            kwargs: its other arguments.
        """


@dataclass
class Frames:
    """The last frames that a part was given; None at the beginning."""

    past: Tensor | None = None


@dataclass(frozen=True)
class Window:
    """Run a part on the new frames and some before them, and keep what is new.

    Args:
        left: how many frames before the new ones its output depends on.
        rate: how many frames it makes of one.
    """

    left: int
    rate: Fraction

    def new_state(self) -> Frames:
        return Frames()

    def run(self, forward: Forward, state: Frames, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new, *others = args
        given = new if state.past is None else torch.cat([state.past, new], dim=2)
        output = forward(given, *others, **kwargs)
        kept = int(self.rate * new.shape[2])
        is_first, state.past = state.past is None, given[:, :, -self.left :].clone()
        return output if is_first else with_video(output, video_of(output)[:, :, -kept:])


@dataclass
class Kept:
    """The keys and values of all frames so far, one pair for each attention of the part, in their order."""

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """Run an attention on the new frames, each of which sees all frames up to itself."""

    def new_state(self) -> Kept:
        return Kept()

    def run(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Remembering(state, args[0].shape[2]):
            return forward(*args, **kwargs)


class _Remembering(TorchFunctionMode):
    """Put earlier keys and values before the new ones, in this thread, and let no frame see later ones."""

    def __init__(self, state: Kept, frames: int) -> None:
        super().__init__()
        self._state = state
        self._frames = frames
        self._number = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        return self._attend(query, key, value, (kwargs or {}).get("scale"))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attention of one frame after the other, ``(batch, heads, frames * positions, dim)`` each."""
        number, self._number = self._number, self._number + 1
        positions, new = query.shape[-2] // self._frames, key.shape[-2]
        if number < len(self._state.pairs):
            earlier = self._state.pairs[number]
            key, value = (torch.cat(pair, dim=-2) for pair in zip(earlier, (key, value), strict=True))
            self._state.pairs[number] = key, value
        else:
            self._state.pairs.append((key, value))
        before, found = key.shape[-2] - new, []
        for n, one in enumerate(torch.split(query, positions, dim=-2), 1):
            seen = before + n * positions
            keys, values = key[..., :seen, :], value[..., :seen, :]
            found.append(functional.scaled_dot_product_attention(one, keys, values, scale=scale))
        return torch.cat(found, dim=-2)


def video_of(output: Any) -> Tensor:
    """The video in what a part returns, which may be the first of several things."""
    video: Tensor = output[0] if isinstance(output, tuple) else output
    return video


def with_video(output: Any, video: Tensor) -> Any:
    """What a part returns, with another video."""
    return (video, *output[1:]) if isinstance(output, tuple) else video


def is_video(value: Any) -> bool:
    """Whether a value has frames on its third axis."""
    return isinstance(value, Tensor) and value.ndim == 5
