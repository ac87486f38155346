"""Compare a clip with the uncached one of the same seed, by any number of metrics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from skipstone.metrics import codec, lpips, motion, quality, semantic, vbench, vmaf
from skipstone.metrics.pair import Pair, pair

TAIL = 0.05
"""The share of frames or clips that are worse than the 5th percentile."""


def mean_of_frames(frames: Tensor) -> float:
    return float(frames.mean())


def mean_of_errors(decibels: Tensor) -> float:
    """The PSNR of the mean squared error of all frames."""
    return float((10 ** (-decibels.double() / 10)).mean().log10() * -10)


def always(clips: Pair) -> str | None:
    """Any pair can be measured."""
    return None


@dataclass(frozen=True)
class Metric:
    """One measure of how close a clip is to its reference.

    Args:
        name: its name on the command line and in rows.
        title: its usual name.
        measure: returns a value for each frame, or for each pair of neighbouring frames.
        unit: the unit of the values; empty without one.
        higher_is_better: whether higher values are better.
        obstacle: returns why two clips cannot be measured, or None.
        summary: turns the values of a clip's frames into one.
        digits: how many decimal places to show.
        is_usual: whether it is measured by default.
    """

    name: str
    title: str
    measure: Callable[[Pair], Tensor]
    unit: str = ""
    higher_is_better: bool = True
    obstacle: Callable[[Pair], str | None] = always
    summary: Callable[[Tensor], float] = mean_of_frames
    digits: int = 3
    is_usual: bool = True

    def worst(self, values: Iterable[float]) -> float:
        """The worst of some values."""
        return min(values) if self.higher_is_better else max(values)

    def low(self, values: Iterable[float]) -> float:
        """The value that 5% of these fall behind."""
        share = TAIL if self.higher_is_better else 1 - TAIL
        return float(torch.tensor(list(values), dtype=torch.float64).quantile(share))


def _sides(least: int) -> Callable[[Pair], str | None]:
    def obstacle(clips: Pair) -> str | None:
        if clips.smallest_side >= least:
            return None
        return f"it needs sides of {least} pixels, and the smaller one has {clips.smallest_side}"

    return obstacle


def _video(clips: Pair) -> str | None:
    return None if len(clips.frames) > 1 else "it needs a video, and this is one picture"


def _first(*obstacles: Callable[[Pair], str | None]) -> Callable[[Pair], str | None]:
    return lambda clips: next((reason for obstacle in obstacles if (reason := obstacle(clips))), None)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", quality.capped_psnr, "dB", summary=mean_of_errors, digits=1),
        Metric("ssim", "SSIM", quality.ssim, obstacle=_sides(11)),
        Metric("ms-ssim", "MS-SSIM", quality.ms_ssim, obstacle=_sides(quality.SMALLEST_OF_SCALES)),
        Metric("lpips", "LPIPS", lpips.lpips, higher_is_better=False,
               obstacle=_first(_sides(lpips.SMALLEST), lambda _: lpips.obstacle())),
        Metric("flicker", "flicker", motion.flicker, higher_is_better=False, obstacle=_video, digits=4),
        Metric("flow", "difference of motion", motion.flow_difference, "pixels a frame",
               higher_is_better=False, obstacle=_video),
        Metric("vmaf", "VMAF", vmaf.vmaf, digits=1,
               obstacle=_first(_video, _sides(vmaf.SMALLEST), lambda _: vmaf.obstacle())),
        Metric("codec-psnr", "PSNR after mp4 (TeaCache's convention)", codec.after_codec(quality.capped_psnr),
               "dB", obstacle=_video, digits=1, is_usual=False),
        Metric("codec-ssim", "SSIM after mp4 (TeaCache's convention)", codec.after_codec(quality.ssim),
               obstacle=_first(_video, _sides(11)), is_usual=False),
        Metric("codec-lpips", "LPIPS after mp4 (TeaCache's convention)",
               codec.after_codec(lpips.spatial_lpips), higher_is_better=False,
               obstacle=_first(_video, _sides(lpips.SMALLEST), lambda _: lpips.obstacle()), is_usual=False),
        Metric("clip-score", "change of CLIP score", semantic.clip_score, obstacle=semantic.clip_obstacle,
               digits=2, is_usual=False),
        Metric("image-reward", "change of ImageReward", semantic.image_reward,
               obstacle=semantic.reward_obstacle, is_usual=False),
        Metric("vbench", "change of VBench", vbench.vbench, is_usual=False,
               obstacle=_first(_video, lambda _: vbench.obstacle())),
    )
}  # fmt: skip
"""Every metric, by name."""

USUAL = tuple(metric.name for metric in METRICS.values() if metric.is_usual)


@dataclass(frozen=True)
class Score:
    """The values of one metric for a clip.

    Args:
        value: the value of the whole clip.
        low: the value that 5% of its frames fall behind.
        worst: the value of its worst frame.
        frames: the value of each frame, or of each pair of neighbouring frames.
    """

    value: float
    low: float
    worst: float
    frames: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """How close a clip is to its reference.

    Args:
        scores: the score of each metric, by name.
        skipped: for every other metric why it could not be measured, by name.
    """

    scores: Mapping[str, Score] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(said(METRICS[name], score.value) for name, score in self.scores.items())


def said(metric: Metric, value: float) -> str:
    """A value with its metric's name and unit."""
    return " ".join((metric.title, f"{value:.{metric.digits}f}", metric.unit)).strip()


@torch.no_grad()
def compare(
    frames: Any,
    reference: Any,
    metrics: Iterable[str] = USUAL,
    fps: float | None = None,
    prompt: str | None = None,
) -> Comparison:
    """Compare a clip with its reference, on their device and before any codec.

    Args:
        frames: ``(frames, height, width, 3)``, values in [0, 1], as a tensor or an array; or an image or a
            list of images, of PIL too, as pipelines return them.
        reference: the same shape, such as the uncached clip of the same prompt and seed.
        metrics: names from `METRICS`. Metrics that cannot be measured on these clips are skipped with a
            reason.
        fps: frames a second of a video; only the codec uses it.
        prompt: the prompt; only semantic metrics use it.

    Raises:
        ValueError: different shapes, or an unknown metric.
    """
    clips, scores, skipped = pair(frames, reference, fps, prompt), {}, {}
    for metric in chosen(metrics):
        reason = metric.obstacle(clips)
        if reason is None:
            scores[metric.name] = _score(metric, clips)
        else:
            skipped[metric.name] = reason
    return Comparison(scores, skipped)


def chosen(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names.

    Raises:
        ValueError: there is no such metric.
    """
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; choose from: {', '.join(METRICS)}")
    return [METRICS[name] for name in names]


def _score(metric: Metric, clips: Pair) -> Score:
    measured = metric.measure(clips).double().cpu()
    frames = tuple(measured.tolist())
    return Score(metric.summary(measured), metric.low(frames), metric.worst(frames), frames)
