"""Parts whose frames depend on a few earlier ones, which are given to them again."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from skipstone.pipelines.vae.units import Forward, NothingYet, video_of, with_video


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
    """Run a part on the new frames and some before them, and let its convolution compute the new ones only.

    That is for a convolution whose input has the length that says so. Copies stand where its output for
    earlier frames would be, which is thrown away. A convolution that divides a large input by itself runs as
    a `Window`.
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
        if func is not functional.conv3d or args[0].shape[2] != self._frames:
            return func(*args, **(kwargs or {}))
        made = func(args[0][:, :, self._cut :], *args[1:], **(kwargs or {}))
        return torch.cat([made[:, :, :1].expand(-1, -1, self._cut, -1, -1), made], dim=2)


def _last(frames: int, past: Tensor | None, new: Tensor) -> Tensor:
    """The last frames so far, apart from what they were a part of."""
    known = new if new.shape[2] >= frames else _after(past, new)
    return known[:, :, -frames:].clone()


def _after(past: Tensor | None, new: Tensor) -> Tensor:
    return new if past is None else torch.cat([past, new], dim=2)
