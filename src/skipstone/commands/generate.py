"""`skipstone generate`, step by step: refuse what cannot work, load, run, measure, write."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from skipstone.commands.opening import open_pipeline
from skipstone.metrics import media
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.arguments import Options, check_options, makes_video
from skipstone.pipelines.opening.sources import Source, locate, pipeline_class

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher
    from skipstone.commands.progress import StepLines
    from skipstone.metrics.quality import Quality
    from skipstone.pipelines.generate import Clip

DEFAULT_METHOD = "teacache"


@dataclass(frozen=True)
class Request:
    """What the user typed.

    Args:
        options: what the pipeline is asked for.
        output: the file to write.
        model: a bundled name, a folder or a hub id.
        caching: whether steps may be skipped.
        method: a caching method, None for the default one.
        settings: its hyper-parameters, ``key=value`` each.
        plan: instead of a method, the file of a plan.
        speedup: instead of a method, how many times faster to be; the first time a run is recorded for it.
        quality: instead of a method, the PSNR in dB that a plan shall keep; found by some runs.
        graphs: whether skipped steps are replayed as graphs.
        seed: of the initial noise, 0 to 2**63 - 1.
        fps: frames a second of a video, None for 16.
        scale: whole factor by which pixels are repeated in the file.
        compare: whether to make the uncached clip as well.
        device: where to run, None for the fastest.
        dtype: number type, None for what suits the device.
    """

    options: Options
    output: Path
    model: str
    caching: bool = True
    method: str | None = None
    settings: tuple[str, ...] = ()
    plan: Path | None = None
    speedup: float | None = None
    quality: float | None = None
    graphs: bool = False
    seed: int = 0
    fps: float | None = None
    scale: int = 1
    compare: bool = False
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Job:
    """A request that can be carried out: everything is loaded and checked.

    Args:
        request: what the user typed.
        pipe: the pipeline.
        arguments: those of its call.
        method: the caching method, None to compute every step.
        fps: frames a second of a video, None for an image.
    """

    request: Request
    pipe: Any
    arguments: dict[str, Any]
    method: "Cacher[Any] | None"
    fps: float | None


@dataclass(frozen=True)
class Result:
    """What came out.

    Args:
        job: what was done.
        clip: the clip that was asked for.
        uncached: the same without a cache, where a comparison was asked for.
        quality: how close the two are.
    """

    job: Job
    clip: "Clip"
    uncached: "Clip | None" = None
    quality: "Quality | None" = None

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON; a PSNR without error is None."""
        request, stats = self.job.request, self.clip.stats
        frames, height, width, _ = self.clip.frames.shape
        return {
            "output": str(request.output),
            "prompt": request.options.prompt,
            "seed": request.seed,
            "model": request.model,
            "pipeline": type(self.job.pipe).__name__,
            "method": stats.method if stats else None,
            "arguments": self.job.arguments,
            "frames": frames,
            "height": height,
            "width": width,
            "fps": self.job.fps,
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
            **{name: value if isfinite(value) else None for name, value in asdict(self.quality).items()},
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
            yield f"cached against uncached, same seed: {self.quality}"
            yield "measured once each, after a warm-up:"
            yield "  " + _times("denoising loop", uncached.loop_seconds, clip.loop_seconds)
            yield "  " + _times("whole call", uncached.call_seconds, clip.call_seconds)
        yield from self.notes
        yield f"wrote {self.job.request.output}" + (" (uncached left, cached right)" if uncached else "")

    @property
    def notes(self) -> list[str]:
        """What a user should know beside the figures."""
        return [*self._surprises(), *self._doubts()]

    def _surprises(self) -> Iterator[str]:
        """Sizes that the pipeline did not make as asked, where its attributes did not give its rule away."""
        frames, height, width, _ = self.clip.frames.shape
        for name, made in (("num_frames", frames), ("height", height), ("width", width)):
            asked = self.job.arguments.get(name, made)
            if asked != made:
                yield f"note: {type(self.job.pipe).__name__} made {name} {made}, not {asked} as asked"

    def _doubts(self) -> Iterator[str]:
        """A measured ratio that the skipped work cannot explain."""
        stats = self.clip.stats
        if self.uncached is None or stats is None or not stats.computed:
            return
        if any(calls["skipped"] for calls in stats.parts.values()):
            # How much of an evaluation its parts are is not known.
            return
        possible = stats.evaluations / stats.computed
        if self.uncached.loop_seconds / self.clip.loop_seconds > possible:
            yield (
                f"note: {stats.computed} of {stats.evaluations} evaluations were computed, which explains at "
                f"most {possible:.2f}x; other work disturbed the times, measure again on an idle machine"
            )


def _times(what: str, uncached: float, cached: float) -> str:
    return f"{what} {uncached:.2f} s uncached, {cached:.2f} s cached, {uncached / cached:.2f}x"


def prepare(request: Request) -> Job:
    """Check a request, cheapest first, and load its pipeline.

    Raises:
        TypeError: a hyper-parameter that the method does not have.
        ValueError: anything else that cannot be done as asked.
    """
    _check_words(request)
    source = locate(request.model)
    method = _named_method(request)
    fps = _check_class(request, source)
    pipe, arguments = open_pipeline(source, request.options, request.device, request.dtype)
    if request.speedup is not None:
        from skipstone.pipelines.model.models import models_of
        from skipstone.pipelines.planning.autoplan import Autoplan

        method = Autoplan(pipe, models_of(pipe), request.speedup).method
    return Job(request, pipe, arguments, method, fps)


def _named_method(request: Request) -> "Cacher[Any] | None":
    """The method that is known before the pipeline is; None where there is none yet, or none at all."""
    if not request.caching or request.speedup is not None or request.quality is not None:
        return None
    plan = request.plan
    if plan is None and request.method is None and not request.settings:
        plan = bundled.default_plan(request.model)
    return method_of(request.model, plan, request.method, request.settings)


def method_of(model: str, plan: Path | None, name: str | None, settings: Sequence[str]) -> "Cacher[Any]":
    """The method that follows a plan's file, or the one of a name; the default one without either.

    Block Caching without settings is what was measured and trained for a bundled model that has it.

    Raises:
        TypeError: a hyper-parameter that the method does not have.
        ValueError: an unknown method, a value that it refuses, or a file that holds no plan.
    """
    if plan is not None:
        from skipstone.cachers import Planned
        from skipstone.schedules.plan import load_plan

        return Planned(load_plan(plan))
    if name == "block-caching" and not settings and bundled.block_caching(model):
        from skipstone.pipelines.opening.block_caching_file import load_block_caching

        return load_block_caching(model)
    from skipstone.cachers.settings import make_method

    return make_method(name or DEFAULT_METHOD, settings)


def _check_words(request: Request) -> None:
    """What is wrong whatever the model."""
    names = ("plan", "speedup", "quality")
    planned = [f"--{name}" for name in names if getattr(request, name) is not None]
    named = ["--cacher"] * bool(request.method) + ["--set"] * bool(request.settings)
    others = ["--graphs"] * request.graphs + ["--compare"] * request.compare
    if not request.caching and (planned or named or others):
        raise ValueError(
            f"--no-cache leaves nothing for {', '.join(planned or named or others)} to do: drop one of them"
        )
    if len(planned) > 1 or (planned and named):
        raise ValueError(f"{', '.join(planned + named)}: each of them says how to skip, give one")
    media.check_extension(request.output, tuple(dict.fromkeys(media.VIDEO + media.IMAGE)))
    media.check_folder(request.output)


def _check_class(request: Request, source: Source) -> float | None:
    """What is wrong for this class of pipeline; else the frames a second of its videos, None for images."""
    cls = pipeline_class(source)
    check_options(cls, request.options)
    if not makes_video(cls):
        media.check_extension(request.output, media.IMAGE)
        if request.fps is not None:
            raise ValueError(f"{cls.__name__} makes images, which have no frames a second: drop --fps")
        return None
    media.check_extension(request.output, media.VIDEO)
    if request.fps is not None and request.output.suffix.lower() == ".png":
        raise ValueError(
            "a contact sheet (png) has no frames a second: drop --fps, or write mp4, gif or webp"
        )
    return request.fps or bundled.FPS


def carry_out(job: Job, console: Console) -> Result:
    """Run a job, show its steps on a console, and write its file."""
    from skipstone.commands.progress import StepLines

    with StepLines(console) as steps:
        job = _with_plan(job, steps)
        result = _compare(job, steps) if job.request.compare else Result(job, _run(job, steps, job.method))
    _write(result)
    return result


def _with_plan(job: Job, steps: "StepLines") -> Job:
    """The job with a plan that keeps the asked quality; as it is where none is asked for."""
    if job.request.quality is None:
        return job
    from skipstone.cachers import Planned
    from skipstone.commands.plan import find_plan
    from skipstone.schedules.search import Target

    target = Target(quality=job.request.quality)
    plan = find_plan(job.pipe, job.arguments, job.request.seed, target, steps)
    return replace(job, method=Planned(plan))


def _run(job: Job, steps: "StepLines", method: "Cacher[Any] | None") -> "Clip":
    from skipstone.cachers.contract.words import Reason
    from skipstone.pipelines.generate import generate

    def once(title: str) -> "Clip":
        request, line = job.request, steps.line(title)
        return generate(job.pipe, job.arguments, request.seed, method, line, request.graphs)

    clip = once("uncached" if method is None else method.name)
    was_recorded = clip.stats is not None and Reason.RECORDING.value in clip.stats.reasons
    return once("planned") if was_recorded else clip


def _compare(job: Job, steps: "StepLines") -> Result:
    from skipstone.metrics.quality import quality
    from skipstone.pipelines.generate import warm_up

    assert job.method is not None
    # A method that plans on the go would record the short run.
    warm_up(job.pipe, job.arguments, None if job.request.speedup is not None else job.method)
    uncached = _run(job, steps, None)
    cached = _run(job, steps, job.method)
    return Result(job, cached, uncached, quality(cached.frames, uncached.frames))


def _write(result: Result) -> None:
    import torch

    request, frames = result.job.request, result.clip.frames
    if result.uncached is not None:
        frames = torch.cat([result.uncached.frames, frames], dim=2)
    if result.job.fps is None:
        media.write_image(frames, request.output, request.scale)
    else:
        media.write_video(frames, request.output, result.job.fps, request.scale)
