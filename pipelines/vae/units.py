"""How a part of a decoder is run on the frames of one chunk, with what it remembers of earlier ones."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

Forward = Callable[..., Any]


class NothingYet(Exception):  # noqa: N818
    """A part has no frame that later ones cannot change; nothing after it is to be called."""


class LostPartError(RuntimeError):
    """A part that no longer runs in chunks as it was tried, so that its chunks are not the whole."""


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
