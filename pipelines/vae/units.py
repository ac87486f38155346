"""How a part of a decoder is run on the frames of one chunk, with what it remembers of earlier ones."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Forward = Callable[..., Any]


class NothingYet(Exception):  # noqa: N818
    """A part has no frame that later ones cannot change; nothing after it is to be called."""


class Unit(Protocol):
    """A part that needs to remember. It is frozen; what it remembers lives in a decode."""

    @property
    def right(self) -> int:
        """How many frames of its output wait for later frames of its input."""

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

        Raises:
            NothingYet: all of it waits for later frames.
        """

    def end(self, forward: Forward, state: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output that waits at the end of a video; the new frames do not count.

        Raises:
            NothingYet: nothing waits.
        """


@dataclass
class Frames:
    """The last frames that a part was given, None at the beginning, and how many of its own wait."""

    past: Tensor | None = None
    waiting: int = 0


@dataclass(frozen=True)
class Window:
    """Run a part on the new frames and some before them, and keep what is new and final.

    Args:
        left: how many frames before the new ones its new output depends on.
        rate: how many frames it makes of one.
        right: how many frames of its output later frames may change.
    """

    left: int
    rate: Fraction
    right: int = 0

    def new_state(self) -> Frames:
        return Frames()

    def run(self, forward: Forward, state: Frames, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new, *others = args
        # Before the part may write into what it is given.
        last = _last(self.left, state.past, new)
        output = self.call(forward, state.past, new, others, kwargs)
        video = video_of(output)
        made = video.shape[2] if state.past is None else int(self.rate * new.shape[2])
        state.past = last
        known = state.waiting + made
        state.waiting = min(known, self.right)
        ready = known - state.waiting
        if not ready:
            raise NothingYet
        return with_video(output, video[:, :, video.shape[2] - known :][:, :, :ready])

    def end(self, forward: Forward, state: Frames, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not state.waiting:
            raise NothingYet
        output = forward(state.past, *args[1:], **kwargs)
        return with_video(output, video_of(output)[:, :, -state.waiting :])

    def call(
        self, forward: Forward, past: Tensor | None, new: Tensor, others: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """The part's output for earlier frames and the new ones; the last frames are right."""
        return forward(_after(past, new), *others, **kwargs)


@dataclass(frozen=True)
class Trimmed(Window):
    """Run a causal convolution on the new frames and some before them, and compute no frame again.

    The frames that it pads with are cut off inside, where its input has the length that says so. A
    convolution that divides a large input by itself runs as a `Window`.
    """

    def call(
        self, forward: Forward, past: Tensor | None, new: Tensor, others: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        given = _after(past, new)
        if past is None or past.shape[2] < self.left:
            return forward(given, *others, **kwargs)
        with _Cutting(given.shape[2] + self.left, self.left):
            return forward(given, *others, **kwargs)


class _Cutting(TorchFunctionMode):
    """Cut frames from the beginning of a convolution's input, in this thread.

    Args:
        frames: of the input that is cut.
        cut: how many.
    """

    def __init__(self, frames: int, cut: int) -> None:
        super().__init__()
        self._frames = frames
        self._cut = cut

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is functional.conv3d and args[0].shape[2] == self._frames:
            args = (args[0][:, :, self._cut :], *args[1:])
        return func(*args, **(kwargs or {}))


def _last(frames: int, past: Tensor | None, new: Tensor) -> Tensor:
    """The last frames so far, apart from what they were a part of."""
    known = new if new.shape[2] >= frames else _after(past, new)
    return known[:, :, -frames:].clone()


def _after(past: Tensor | None, new: Tensor) -> Tensor:
    return new if past is None else torch.cat([past, new], dim=2)


@dataclass
class Kept:
    """The keys and values of all frames so far, one pair for each attention of the part, in their order."""

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """Run an attention on the new frames, each of which sees all frames up to itself."""

    right: ClassVar[int] = 0

    def new_state(self) -> Kept:
        return Kept()

    def run(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Remembering(state, args[0].shape[2]):
            return forward(*args, **kwargs)

    def end(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NothingYet


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
