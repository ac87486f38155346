"""The result of `skipstone generate`, in words and as plain values."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.metrics.quality import Quality
    from skipstone.pipelines.clips.clip import Clip

EXPECT = "expect "
"""How a plan's note on the quality begins."""

DISTURBED = 1.25
"""How many times the speedup within a run may exceed the measured one."""


@dataclass(frozen=True)
class Generated:
    """What was made and measured.

    Args:
        output: the file that was written.
        model: the name of a bundled model, a folder or a hub id.
        pipeline: the name of the pipeline's class.
        arguments: the arguments of the pipeline's call.
        seed: of the initial noise.
        fps: frames a second of a video, None for an image.
        clip: the clip that was made.
        uncached: the same clip without a cache, if both are compared.
        quality: how close the two clips are.
    """

    output: Path
    model: str
    pipeline: str
    arguments: dict[str, Any]
    seed: int
    fps: float | None
    clip: "Clip"
    uncached: "Clip | None" = None
    quality: "Quality | None" = None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        stats = self.clip.stats
        frames, height, width, _ = self.clip.frames.shape
        return {
            "output": str(self.output),
            "prompt": self.arguments["prompt"],
            "seed": self.seed,
            "model": self.model,
            "pipeline": self.pipeline,
            "method": stats.method if stats else None,
            "arguments": self.arguments,
            "frames": frames,
            "height": height,
            "width": width,
            "fps": self.fps,
            "steps": self.clip.steps,
            "seconds": self.clip.loop_seconds,
            "call_seconds": self.clip.call_seconds,
            "statistics": stats.as_dict() if stats else None,
            "notes": self.notes,
            **self._comparison(),
        }

    def _comparison(self) -> dict[str, Any]:
        if self.uncached is None or self.quality is None:
            return {}
        return {
            **asdict(self.quality),
            "uncached_seconds": self.uncached.loop_seconds,
            "cached_seconds": self.clip.loop_seconds,
            "ratio": self.uncached.loop_seconds / self.clip.loop_seconds,
            "uncached_call_seconds": self.uncached.call_seconds,
            "cached_call_seconds": self.clip.call_seconds,
            "call_ratio": self.uncached.call_seconds / self.clip.call_seconds,
        }

    def lines(self) -> Iterator[str]:
        """The result in words."""
        clip, uncached = self.clip, self.uncached
        yield str(clip.stats or f"{clip.steps} steps computed ({clip.loop_seconds:.1f} s), no cache")
        if uncached is not None:
            yield f"cached against uncached, same seed: {self.quality}, {self._seen}"
            yield "measured once each, after a warm-up:"
            yield "  " + _times("denoising loop", uncached.loop_seconds, clip.loop_seconds)
            yield "  " + _times("whole call", uncached.call_seconds, clip.call_seconds)
        yield from self.notes
        yield f"wrote {self.output}" + (" (uncached left, cached right)" if uncached else "")

    @property
    def _seen(self) -> str:
        """What people see of the difference."""
        from skipstone.schedules.expectation import seen_at

        assert self.quality is not None
        return seen_at(self.quality.psnr) if isfinite(self.quality.psnr) else "no difference"

    @property
    def notes(self) -> list[str]:
        """Remarks that the figures do not show."""
        return [*self._surprises(), *self._doubts(), *self._unmeasured()]

    def _surprises(self) -> Iterator[str]:
        """Sizes that the pipeline changed; `check_sizes` could not know its rule beforehand."""
        frames, height, width, _ = self.clip.frames.shape
        for name, made in (("num_frames", frames), ("height", height), ("width", width)):
            asked = self.arguments.get(name, made)
            if asked != made:
                yield f"note: {self.pipeline} made {name} {made}, not {asked} as asked"

    def _doubts(self) -> Iterator[str]:
        """A measured speedup that the run itself cannot explain."""
        stats = self.clip.stats
        if self.uncached is None or stats is None or not stats.computed:
            return
        if any(calls["skipped"] for calls in stats.parts.values()):
            # It is not known how much of an evaluation its parts are.
            return
        possible = stats.evaluations / stats.computed
        measured = self.uncached.loop_seconds / self.clip.loop_seconds
        if stats.speedup is not None and measured < stats.speedup / DISTURBED:
            yield (
                f"note: by its own steps the cached run was {stats.speedup:.2f}x as fast as computing all; "
                "other work disturbed the times, measure again on an idle machine"
            )
        if measured > possible:
            yield (
                f"note: {stats.computed} of {stats.evaluations} evaluations were computed, which explains at "
                f"most {possible:.2f}x; other work disturbed the times, measure again on an idle machine"
            )

    def _unmeasured(self) -> Iterator[str]:
        """How to learn the quality, where nothing tells it."""
        stats = self.clip.stats
        if stats is None or self.uncached is not None or not set(stats.strip) & {".", "+"}:
            return
        if not any(note.startswith(EXPECT) for note in stats.notes):
            yield "note: how close this is to an uncached run is not known: --compare measures it"


def _times(what: str, uncached: float, cached: float) -> str:
    return f"{what} {uncached:.2f} s uncached, {cached:.2f} s cached, {uncached / cached:.2f}x"
