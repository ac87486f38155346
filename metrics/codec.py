"""TeaCache's convention: both clips are written as mp4, read again, and then compared.

These figures include the codec's loss, so compare them only with published tables.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from skipstone.metrics.pair import FPS, Pair, pair


def after_codec(measure: Callable[[Pair], Tensor]) -> Callable[[Pair], Tensor]:
    """A metric of both clips after imageio's mp4 at its default quality.

    Source: the evaluation scripts of TeaCache, https://github.com/ali-vilab/TeaCache.
    """

    def measured(clips: Pair) -> Tensor:
        return measure(pair(_read_again(clips.frames, clips.fps), _read_again(clips.reference, clips.fps)))

    return measured


def _read_again(clip: Tensor, fps: float | None) -> Tensor:
    import imageio.v2 as imageio

    pixels = clip.clamp(0, 1).mul(255).byte().movedim(1, -1).cpu().numpy()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        imageio.mimwrite(file, list(pixels), fps=fps or FPS, macro_block_size=1)
        read: Any = imageio.mimread(file, memtest=False)
    return torch.stack([torch.from_numpy(frame).float() / 255 for frame in read])
