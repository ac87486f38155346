"""A clip and its reference: the input of every metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

FPS = 16.0
"""The default of frames a second."""


@dataclass(frozen=True)
class Pair:
    """A clip and its reference, frame by frame.

    Args:
        frames: ``(frames, 3, height, width)``, values in [0, 1].
        reference: the same shape.
        fps: frames a second of a video; None for an image.
        prompt: the prompt of both; None if unknown.
    """

    frames: Tensor
    reference: Tensor
    fps: float | None = None
    prompt: str | None = None

    @property
    def smallest_side(self) -> int:
        return min(self.frames.shape[-2:])


def pair(frames: Any, reference: Any, fps: float | None = None, prompt: str | None = None) -> Pair:
    """Make a pair, with channels first.

    Args:
        frames: what `clip_of` takes.
        reference: the same shape.
        fps: frames a second; None means `FPS` for a video.
        prompt: the prompt of both.

    Raises:
        ValueError: different shapes.
    """
    first, second = clip_of(frames), clip_of(reference)
    if first.shape != second.shape:
        raise ValueError(
            "expected two clips (frames, height, width, channels) of one shape, "
            f"got {tuple(first.movedim(1, -1).shape)} and {tuple(second.movedim(1, -1).shape)}"
        )
    return Pair(first, second, fps or (FPS if len(first) > 1 else None), prompt)


def clip_of(given: Any) -> Tensor:
    """A clip as ``(frames, 3, height, width)``, values in [0, 1].

    Args:
        given: an image or a list of images (PIL, arrays or tensors), or an array or a tensor ``(frames,
            height, width, 3)`` or ``(height, width, 3)``, values in [0, 1], or whole numbers up to 255. The 3
            may stand before height and width.

    Raises:
        ValueError: it has other dimensions than a clip or an image.
    """
    if isinstance(given, (list, tuple)):
        given = torch.stack([_array(one) for one in given])
    values = _array(given)
    values = values[None] if values.ndim == 3 else values
    if values.ndim != 4 or 3 not in (values.shape[-1], values.shape[1]):
        raise ValueError(
            "expected a clip (frames, height, width, 3) or an image (height, width, 3), "
            f"got {tuple(values.shape)}"
        )
    return (values.movedim(-1, 1) if values.shape[-1] == 3 else values).contiguous()


def _array(given: Any) -> Tensor:
    """Numbers in [0, 1]; those of images are bytes."""
    if not isinstance(given, Tensor):
        given = torch.from_numpy(np.array(given.convert("RGB") if hasattr(given, "convert") else given))
    values: Tensor = given.float()
    return values if given.is_floating_point() else values / 255
