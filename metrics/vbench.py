"""VBench, a benchmark of videos: how much of a clip's score the cache changed."""

import json
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from skipstone.metrics import media
from skipstone.metrics.pair import FPS, Pair

DIMENSIONS = (
    "subject_consistency", "background_consistency", "motion_smoothness", "aesthetic_quality",
    "imaging_quality",
)  # fmt: skip
"""The dimensions that VBench measures on any video, whatever its prompt."""


def vbench(clips: Pair) -> Tensor:
    """Mean of VBench's `DIMENSIONS` minus the reference's, ``(1,)``: below 0 if the clip is worse.

    Source: VBench, arXiv:2311.17982, https://github.com/Vchitect/VBench.
    Difference: the plain mean of the dimensions that need no prompt of the benchmark.
    """
    scores = [_score(clip, clips) for clip in (clips.frames, clips.reference)]
    return torch.tensor([scores[0] - scores[1]])


def obstacle() -> str | None:
    """Why VBench cannot be measured, or None."""
    return "the package vbench is not installed: pip install vbench" if find_spec("vbench") is None else None


def _score(clip: Tensor, clips: Pair) -> float:
    from vbench import VBench

    with TemporaryDirectory() as name:
        folder = Path(name)
        media.write_video(clip.movedim(1, -1), folder / "clip.mp4", clips.fps or FPS)
        judge = VBench(clip.device, str(folder / "unused.json"), str(folder / "results"))
        judge.evaluate(
            videos_path=str(folder / "clip.mp4"),
            name="clip",
            prompt_list=[clips.prompt or ""],
            dimension_list=list(DIMENSIONS),
            mode="custom_input",
        )
        results = json.loads((folder / "results/clip_eval_results.json").read_text())
    return sum(float(results[dimension][0]) for dimension in DIMENSIONS) / len(DIMENSIONS)
