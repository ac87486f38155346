"""Run one prompt and seed uncached, uncached again, with fewer steps and cached; each run becomes a row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch

from skipstone.cachers.contract.cacher import Cacher
from skipstone.metrics.comparison import Comparison, compare
from skipstone.pipelines.clips.clip import Clip, attached, make_clip
from skipstone.pipelines.run.stats import RunStats
from skipstone.report.previews import Previews, difference
from skipstone.report.rows import REPEAT, UNCACHED


@dataclass(frozen=True)
class Setting:
    """One way to run a pipeline.

    Args:
        kind: the kind of its rows.
        label: the method's name in the report; empty without a method.
        settings: the method's settings, in words.
        method: the method; None to compute every step.
        steps: the number of steps; None for that of the reference.
        expected: for each step the error that the method expects of its estimate, None for computed steps;
            empty if the method expects nothing.
    """

    kind: str
    label: str = ""
    settings: str = ""
    method: Cacher[Any] | None = None
    steps: int | None = None
    expected: tuple[float | None, ...] = ()

    def key(self, prompt: str, seed: int) -> dict[str, Any]:
        """The values that identify the row of one run."""
        return {
            "kind": self.kind, "method": self.label, "setting": self.settings,
            "steps_asked": self.steps, "prompt": prompt, "seed": seed,
        }  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """A pipeline, and what to measure on it.

    Args:
        pipe: the pipeline.
        arguments: the arguments of its call, except the prompt.
        metrics: the names of the metrics.
        fps: frames a second of a video; None for images.
        previews: writes the clips; None to write none.
        device: the device that measures.
    """

    pipe: Any
    arguments: Mapping[str, Any]
    metrics: Sequence[str]
    fps: float | None
    previews: Previews | None
    device: torch.device

    def run(self, setting: Setting, prompt: str, seed: int) -> Clip:
        """Run the pipeline once."""
        steps = {} if setting.steps is None else {"num_inference_steps": setting.steps}
        arguments = {**self.arguments, **steps, "prompt": prompt}
        with attached(self.pipe, setting.method) as cache:
            return make_clip(self.pipe, arguments, seed, cache)

    def rows(self, settings: Sequence[Setting], prompt: str, seed: int) -> Iterator[dict[str, Any]]:
        """Run the reference, then yield a row for each setting, compared with it."""
        reference = self.run(Setting(UNCACHED), prompt, seed)
        for setting in settings:
            clip = reference if setting.kind == UNCACHED else self.run(setting, prompt, seed)
            yield {**setting.key(prompt, seed), **self._measured(setting, clip, reference, prompt, seed)}

    def _measured(
        self, setting: Setting, clip: Clip, reference: Clip, prompt: str, seed: int
    ) -> dict[str, Any]:
        row = {
            "steps": clip.steps,
            "loop_seconds": clip.loop_seconds,
            "call_seconds": clip.call_seconds,
            "speedup": reference.loop_seconds / clip.loop_seconds,
            "call_speedup": reference.call_seconds / clip.call_seconds,
            "expected_errors": list(setting.expected),
            **_statistics(clip),
            **self._preview(setting, clip, reference, prompt, seed),
        }
        if setting.kind == UNCACHED:
            return row
        frames, wanted = (c.frames.to(self.device) for c in (clip, reference))
        return {**row, **flat(compare(frames, wanted, self.metrics, self.fps, prompt))}

    def _preview(
        self, setting: Setting, clip: Clip, reference: Clip, prompt: str, seed: int
    ) -> dict[str, str]:
        if self.previews is None or setting.kind == REPEAT:
            return {}
        name = sha256(repr(setting.key(prompt, seed)).encode()).hexdigest()[:16]
        made = {"clip": self.previews.write(clip.frames, name)}
        if setting.kind != UNCACHED:
            unlike = difference(clip.frames, reference.frames)
            made["difference"] = self.previews.write(unlike, f"{name}-difference")
        return made


def flat(comparison: Comparison) -> dict[str, Any]:
    """A comparison as columns: ``psnr``, ``psnr_low``, ``psnr_worst``, ``psnr_frames``."""
    columns: dict[str, Any] = {"not_measured": dict(comparison.skipped)}
    for name, score in comparison.scores.items():
        columns[name] = score.value
        columns[f"{name}_low"] = score.low
        columns[f"{name}_worst"] = score.worst
        columns[f"{name}_frames"] = [round(value, 5) for value in score.frames]
    return columns


def _statistics(clip: Clip) -> dict[str, Any]:
    """What the cache did; without a cache every step was computed."""
    if clip.stats is None:
        strip = "#" * clip.steps
        return {
            "computed_share": 1.0, "computed_steps": clip.steps, "parts": {}, "strip": strip, "reasons": {},
            "bytes_held": 0, "notes": [],
        }  # fmt: skip
    stats = clip.stats
    return {
        "described": stats.method,
        "computed_share": stats.computed / stats.evaluations,
        "computed_steps": stats.steps - stats.skipped_steps,
        "parts": stats.parts,
        "strip": stats.strip,
        "reasons": stats.reasons,
        "bytes_held": stats.bytes_held,
        "notes": list(stats.notes),
    }


def work_share(stats: RunStats | None) -> float:
    """The share of the work that was done: of computed evaluations, times that of computed parts."""
    if stats is None:
        return 1.0
    done = sum(calls["computed"] for calls in stats.parts.values())
    calls = sum(sum(calls.values()) for calls in stats.parts.values())
    return stats.computed / stats.evaluations * (done / calls if calls else 1.0)
