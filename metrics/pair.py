"""A clip and its reference: the input of every metric."""

from dataclasses import dataclass

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


def pair(frames: Tensor, reference: Tensor, fps: float | None = None, prompt: str | None = None) -> Pair:
    """Make a pair, with channels first.

    Args:
        frames: ``(frames, height, width, channels)``, values in [0, 1].
        reference: the same shape.
        fps: frames a second; None means `FPS` for a video.
        prompt: the prompt of both.

    Raises:
        ValueError: different shapes.
    """
    if frames.shape != reference.shape or frames.ndim != 4:
        raise ValueError(
            "expected two clips (frames, height, width, channels) of one shape, "
            f"got {tuple(frames.shape)} and {tuple(reference.shape)}"
        )
    first, second = (clip.float().movedim(-1, 1).contiguous() for clip in (frames, reference))
    return Pair(first, second, fps or (FPS if len(first) > 1 else None), prompt)
