"""Causal convolutions, whose padding is replaced by the earlier frames that it stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from skipstone.pipelines.vae.units import Forward, LostPartError
from skipstone.pipelines.vae.windows import Frames, Window

TIME = 4
"""The place of the padding in time, after the two sides of width and of height."""

JOINS = (torch.cat, torch.concat, torch.concatenate)


@dataclass(frozen=True)
class Padded(Window):
    """Run a causal convolution on the new frames, with earlier frames in the place of its padding.

    No frame is computed again, and the new frames are copied once: to behind the earlier ones, with the edges
    that the part asks for.
    """

    def run(self, forward: Forward, state: Frames, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Padding(self.left, state, args[0]) as padding:
            output = forward(*args, **kwargs)
        if not padding.is_done:
            raise LostPartError("a convolution no longer pads the frames that it is given")
        return output


class _Padding(TorchFunctionMode):
    """Put earlier frames where a part pads the new ones in time, in this thread, and remember the last ones.

    Args:
        left: how many.
        state: holds them; at the beginning of a video the part pads as it is written.
        new: the new frames.
    """

    def __init__(self, left: int, state: Frames, new: Tensor) -> None:
        super().__init__()
        self._left = left
        self._state = state
        self._new = new
        self.is_done = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        given = kwargs or {}
        if func is functional.pad and args[0] is self._new:
            return self._pad(*args, **given)
        if func in JOINS and args[0][-1] is self._new:
            return self._join(*args, **given)
        return func(*args, **given)

    def _pad(
        self, new: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> Tensor:
        if list(pad[TIME:]) != [self._left, 0] or mode not in ("constant", "replicate"):
            return functional.pad(new, pad, mode, value)
        if self._state.past is None:
            made = functional.pad(new, pad, mode, value)
        else:
            made = with_edges(self._state.past, new, pad, None if mode == "replicate" else value or 0)
        left, _, top, _ = pad[:TIME]
        self._remember(made[..., top : top + new.shape[3], left : left + new.shape[4]])
        return made

    def _join(self, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        made = torch.cat(list(tensors), dim=dim)
        if dim != 2 or made.shape[2] != self._new.shape[2] + self._left:
            return made
        if self._state.past is not None:
            made[:, :, : self._left] = self._state.past
        self._remember(made)
        return made

    def _remember(self, frames: Tensor) -> None:
        """Keep the last frames, apart from what they are a part of."""
        self.is_done = True
        # The earlier ones have gone before the copy is made.
        self._state.past = None
        self._state.past = frames[:, :, -self._left :].clone()


def with_edges(past: Tensor, new: Tensor, pad: Sequence[int], value: float | None) -> Tensor:
    """Earlier frames and new ones, padded in height and width.

    Args:
        past: ``(batch, channels, frames, height, width)``.
        new: likewise.
        pad: on the left, on the right, on top and at the bottom.
        value: of the edges; None for that of the nearest element.
    """
    left, right, top, bottom = pad[:TIME]
    batch, channels, frames, height, width = new.shape
    shape = batch, channels, past.shape[2] + frames, top + height + bottom, left + width + right
    made = new.new_empty(shape)
    inside = made[..., top : top + height, left : left + width]
    inside[:, :, : past.shape[2]] = past
    inside[:, :, past.shape[2] :] = new
    rows = made[..., left : left + width]
    rows[..., :top, :] = inside[..., :1, :] if value is None else value
    rows[..., top + height :, :] = inside[..., -1:, :] if value is None else value
    made[..., :left] = made[..., left : left + 1] if value is None else value
    made[..., left + width :] = made[..., left + width - 1 : left + width] if value is None else value
    return made
