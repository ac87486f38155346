"""Small clips and images for a report."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.metrics import media

LONGEST = 480
"""The most pixels of the longer side."""

CRF = 28
"""H.264 quality of the clips: hardly visible at this size, and sixteen cases fit into a page."""

GAIN = 8
"""The factor that makes a difference visible."""


class Previews:
    """Write the clips of runs into a folder.

    Args:
        folder: the folder, made when the first clip is written.
        fps: frames a second of a video; None for images.
    """

    def __init__(self, folder: Path, fps: float | None) -> None:
        self._folder, self._fps = folder, fps

    def write(self, frames: Tensor, name: str) -> str:
        """Write a clip, ``(frames, height, width, 3)``; the path is relative to the folder's parent."""
        self._folder.mkdir(exist_ok=True)
        small = shrunk(frames)
        path = self._folder / f"{name}{'.webp' if self._fps is None else '.mp4'}"
        if self._fps is None:
            media.write_image(small, path)
        else:
            media.write_video(small, path, self._fps, crf=CRF)
        return f"{self._folder.name}/{path.name}"


def difference(frames: Tensor, reference: Tensor) -> Tensor:
    """The mean difference of two clips over the colours, in gray, `GAIN` times as bright."""
    return ((frames - reference).abs().mean(dim=-1, keepdim=True) * GAIN).clamp(0, 1).expand_as(frames)


def shrunk(frames: Tensor) -> Tensor:
    """Shrink a clip so that no side is above `LONGEST`."""
    height, width = frames.shape[1:3]
    share = LONGEST / max(height, width)
    if share >= 1:
        return frames
    size = (round(height * share), round(width * share))
    return torch.cat([
        F.interpolate(frame, size, mode="area").movedim(1, -1)
        for frame in frames.movedim(-1, 1).unsqueeze(1)
    ])  # fmt: skip
