"""Files read back: what was written is what is there, and nothing is left half-written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from skipstone.disk.errors import FileError
from skipstone.metrics import media

COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]])


def flat(frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    """Frames of one colour each, all different from the one before."""
    return COLOURS[torch.arange(frames) % 7][:, None, None].expand(frames, height, width, 3)


@pytest.mark.parametrize("extension", [".mp4", ".gif", ".webp"])
def test_a_video_reads_back(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"clip{extension}"
    media.write_video(flat(7), path, fps=8)
    frames = iio.imread(path, plugin="FFMPEG" if extension == ".mp4" else "pillow", index=...)
    assert frames.shape == (7, 16, 24, 3)
    assert np.abs(frames[:, 8, 12].astype(int) - (COLOURS.numpy() * 255)).max() < 16
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_mp4_plays_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    media.write_video(flat(8, height=15, width=21), path, fps=8)
    metadata = iio.immeta(path, plugin="FFMPEG")
    assert metadata["codec"] == "h264"
    assert metadata["pix_fmt"].startswith("yuv420p")
    assert metadata["size"] == (22, 16)
    assert metadata["fps"] == 8
    assert metadata["duration"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("extension", [".gif", ".webp"])
def test_an_animation_keeps_its_speed(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"clip{extension}"
    media.write_video(flat(16), path, fps=16)
    with Image.open(path) as picture:
        durations = []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            durations.append(picture.info["duration"])
    assert len(durations) == 16
    assert sum(durations) == 1000


def test_scale_repeats_pixels(tmp_path: Path) -> None:
    frames = torch.rand(1, 4, 6, 3, generator=torch.Generator().manual_seed(0))
    media.write_image(frames, tmp_path / "small.png")
    media.write_image(frames, tmp_path / "large.png", scale=3)
    small, large = iio.imread(tmp_path / "small.png"), iio.imread(tmp_path / "large.png")
    assert np.abs(small / 255 - frames[0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert large.shape == (12, 18, 3)
    assert (large[1::3, 1::3] == small).all()
    assert (large[::3, ::3] == small).all()


@pytest.mark.parametrize(
    ("frames", "shown", "grid"),
    [(1, [0], (1, 1)), (5, [0, 1, 2, 3, 4], (2, 3)), (12, list(range(12)), (3, 4)),
     (34, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33], (3, 4))],
)  # fmt: skip
def test_a_contact_sheet_shows_evenly_spaced_frames(
    frames: int, shown: list[int], grid: tuple[int, int]
) -> None:
    numbers = np.arange(1, frames + 1, dtype=np.uint8)[:, None, None, None]
    sheet = media.contact_sheet(np.broadcast_to(numbers, (frames, 2, 3, 3)))
    rows, columns = grid
    assert sheet.shape == (2 * rows, 3 * columns, 3)
    cells = sheet[::2, ::3, 0].ravel().tolist()
    assert cells[: len(shown)] == [number + 1 for number in shown]
    assert not any(cells[len(shown) :])


@pytest.mark.parametrize(("extension", "tolerance"), [(".png", 0), (".jpg", 4), (".webp", 4)])
def test_an_image_reads_back(tmp_path: Path, extension: str, tolerance: int) -> None:
    path = tmp_path / f"picture{extension}"
    media.write_image(torch.full((1, 16, 24, 3), 0.6), path)
    picture = iio.imread(path)
    assert picture.shape == (16, 24, 3)
    assert np.abs(picture.astype(int) - 153).max() <= tolerance


def test_values_outside_the_range_are_clamped(tmp_path: Path) -> None:
    frames = torch.tensor([-0.5, 1.5]).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    media.write_image(frames, tmp_path / "picture.png")
    assert iio.imread(tmp_path / "picture.png")[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def half(self: Any, part: Path, **options: Any) -> None:
        part.write_bytes(b"half")
        raise error

    (tmp_path / "clip.gif").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(error):
        media.write_video(flat(2), tmp_path / "clip.gif", fps=8)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"clip.gif": b"old"}


@pytest.mark.parametrize(
    ("write", "name", "accepted"),
    [(lambda path: media.write_video(flat(2), path, fps=8), "clip.jpg", media.VIDEO),
     (lambda path: media.write_image(flat(1), path), "picture.mp4", media.IMAGE)],
)  # fmt: skip
def test_unknown_extensions_are_refused(
    tmp_path: Path, write: Callable[[Path], None], name: str, accepted: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=", ".join(accepted)):
        write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_clip_that_ffmpeg_could_not_write_whole_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk it ends without an error that could be seen."""
    path, count = tmp_path / "clip.mp4", imageio_ffmpeg.count_frames_and_secs

    def cut(part: Path) -> tuple[int, float]:
        part.write_bytes(part.read_bytes()[:-100])
        return count(part)

    path.write_bytes(b"old")
    monkeypatch.setattr(imageio_ffmpeg, "count_frames_and_secs", cut)
    with pytest.raises(FileError, match=r"only \d of 7 frames could be written"):
        media.write_video(flat(7), path, fps=8)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
