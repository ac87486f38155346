"""Write clips and images: mp4, gif, webp, png, jpg. A file appears whole or not at all."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skipstone.disk.writing import write
from skipstone.metrics.mp4 import CRF, Mp4

if TYPE_CHECKING:
    from torch import Tensor

VIDEO = (".mp4", ".gif", ".webp", ".png")
"""The formats of a video; a png is a contact sheet."""

IMAGE = (".png", ".jpg", ".webp")
"""The formats of an image."""

SHEET = 12
"""The most frames of a contact sheet."""


def check_extension(path: Path, accepted: tuple[str, ...]) -> None:
    """Refuse a file name whose extension is not accepted.

    Raises:
        ValueError: the extension is not one of the accepted ones.
    """
    if path.suffix.lower() not in accepted:
        raise ValueError(f"cannot write {str(path)!r}: name a file that ends in {', '.join(accepted)}")


def write_video(frames: "Tensor", path: Path, fps: float, scale: int = 1, crf: int = CRF) -> None:
    """Write a clip in the format that the file's extension names; a png is a contact sheet.

    Args:
        frames: ``(frames, height, width, 3)``, values in [0, 1].
        path: the file, replaced if it exists.
        fps: frames a second, above 0.
        scale: whole factor by which pixels are repeated, from 1.
        crf: quality of an mp4, 0 to 51, lower is better.

    Raises:
        FileError: it cannot be written; what was there is unchanged.
        ValueError: the extension is not that of a video.
    """
    check_extension(path, VIDEO)
    pixels = pixels_of(frames, scale)
    writers: dict[str, Callable[[Path], None]] = {
        ".mp4": lambda part: _write_mp4(pixels, part, fps, crf),
        ".gif": lambda part: _write_animation(pixels, part, _durations(len(pixels), fps, unit=10)),
        ".webp": lambda part: _write_animation(pixels, part, _durations(len(pixels), fps), quality=90),
        ".png": lambda part: _write_picture(contact_sheet(pixels), part),
    }
    write(path, writers[path.suffix.lower()])


def write_image(frames: "Tensor", path: Path, scale: int = 1) -> None:
    """Write the first frame as a picture in the format that the file's extension names.

    Args:
        frames: ``(frames, height, width, 3)``, values in [0, 1].
        path: the file, replaced if it exists.
        scale: whole factor by which pixels are repeated, from 1.

    Raises:
        FileError: it cannot be written; what was there is unchanged.
        ValueError: the extension is not that of an image.
    """
    check_extension(path, IMAGE)
    write(path, lambda part: _write_picture(pixels_of(frames, scale)[0], part))


def contact_sheet(pixels: Any) -> Any:
    """Up to twelve evenly spaced frames in a grid, read line by line; empty places are black.

    Args:
        pixels: ``(frames, height, width, channels)``, an array.
    """
    import numpy as np

    count = min(len(pixels), SHEET)
    chosen = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.zeros((rows * columns, *pixels.shape[1:]), pixels.dtype)
    grid[:count] = chosen
    lines = [np.concatenate(list(grid[row * columns :][:columns]), axis=1) for row in range(rows)]
    return np.concatenate(lines)


def pixels_of(frames: "Tensor", scale: int) -> Any:
    """Frames with values in [0, 1] as bytes, each pixel repeated."""
    values = frames.detach().float().clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return values.repeat(scale, axis=1).repeat(scale, axis=2)


def _write_mp4(pixels: Any, part: Path, fps: float, crf: int) -> None:
    with Mp4(part, fps, crf) as file:
        file.append(pixels)


def _write_animation(pixels: Any, part: Path, durations: list[int], **options: Any) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in pixels)
    first.save(part, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def _durations(frames: int, fps: float, unit: int = 1) -> list[int]:
    """The duration of each frame in whole milliseconds, rounded so that the clip keeps its speed."""
    ends = [round(1000 * n / fps / unit) * unit for n in range(frames + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def _write_picture(pixels: Any, part: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(part, quality=95)
