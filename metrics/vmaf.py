"""VMAF, a model of viewers: how close a clip is to its reference, by the ffmpeg of imageio-ffmpeg."""

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from skipstone.metrics.pair import Pair

SMALLEST = 32
"""The smallest side in pixels: VMAF halves the image four times."""


def vmaf(clips: Pair) -> Tensor:
    """VMAF 0.6.1 of each frame, ``(frames,)``: 0 to 100, and somewhat below 100 for identical ones.

    Source: Netflix, https://github.com/Netflix/vmaf.

    Raises:
        RuntimeError: ffmpeg failed.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        inputs = [
            part
            for number, clip in enumerate((clips.frames, clips.reference))
            for part in _input(clip, folder / f"{number}.rgb", clips.fps)
        ]
        _run(inputs, folder)
        frames = json.loads((folder / "log.json").read_text())["frames"]
    return torch.tensor([frame["metrics"]["vmaf"] for frame in frames])


def obstacle() -> str | None:
    """Why VMAF cannot be measured here, or None."""
    if "version=vmaf" not in _described():
        return "the ffmpeg of imageio-ffmpeg has no libvmaf with its models on this machine"
    return None


def _input(clip: Tensor, file: Path, fps: float | None) -> list[str]:
    """Write raw frames; return ffmpeg's options for them."""
    file.write_bytes(clip.clamp(0, 1).mul(255).round().byte().movedim(1, -1).cpu().numpy().tobytes())
    size = f"{clip.shape[-1]}x{clip.shape[-2]}"
    return ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps or 1), "-i", file.name]


def _run(inputs: Sequence[str], folder: Path) -> None:
    # VMAF uses luma only; yuv444p also accepts odd sides.
    graph = "[0:v]format=yuv444p[a];[1:v]format=yuv444p[b];[a][b]libvmaf=log_fmt=json:log_path=log.json"
    command = [_ffmpeg(), "-hide_banner", "-loglevel", "error", *inputs, "-lavfi", graph, "-f", "null", "-"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ffmpeg could not measure VMAF: {done.stderr.strip()}")


@cache
def _described() -> str:
    """What ffmpeg says of its filter: an older one names the file of a model, which it does not bring."""
    command = [_ffmpeg(), "-hide_banner", "-h", "filter=libvmaf"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())
