"""`skipstone generate`: check the request, load the pipeline, run it, measure, write."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from skipstone.commands.choice import Choice
from skipstone.commands.film import Film, check_finite, filmed
from skipstone.commands.generated import Generated
from skipstone.commands.opening import Opening
from skipstone.commands.options import FpsOption, JsonOption, SeedOption
from skipstone.commands.output import Result, show
from skipstone.commands.run_options import RunOptions
from skipstone.commands.streaming import check_causal, is_causal, stream_to
from skipstone.disk.writing import check_folder
from skipstone.metrics import media
from skipstone.notice import Notice
from skipstone.pipelines import bundled

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher
    from skipstone.commands.progress import StepLines
    from skipstone.pipelines.clips.clip import Clip


@dataclass(frozen=True)
class Asked:
    """What is to be made.

    Args:
        opening: of the pipeline.
        prompt: what it shows.
        seed: of the noise.
        output: the file to write.
        rate: frames a second; None for an image.
        scale: whole factor by which pixels are repeated.
    """

    opening: Opening
    prompt: str
    seed: int
    output: Path
    rate: float | None
    scale: int


@dataclass(frozen=True)
class Runs:
    """Run one call of a pipeline with one seed; a line shows the steps of each run.

    Args:
        pipe: the pipeline.
        arguments: those of its call.
        seed: of the initial noise.
        lines: show the steps.
        label: what cached runs are called.
    """

    pipe: Any
    arguments: dict[str, Any]
    seed: int
    lines: "StepLines"
    label: str

    def uncached(self) -> "Clip":
        """Compute every step."""
        from skipstone.pipelines.clips.clip import make_clip

        return make_clip(self.pipe, self.arguments, self.seed, watch=self.lines.line("uncached"))

    def cached(self, method: "Cacher[Any] | None", options: RunOptions) -> "Clip":
        """Run with the method, or with a plan for the speedup; repeat a recorded run with its plan."""
        from skipstone.cachers.contract.words import Reason
        from skipstone.pipelines.attach import attach
        from skipstone.pipelines.clips.clip import make_clip

        def is_recorded() -> bool:
            return Reason.RECORDING.value in cache.last_run.reasons

        def title() -> str:
            return "recorded" if is_recorded() else self.label

        with attach(self.pipe, method, speedup=options.speedup, graphs=options.graphs) as cache:
            clip = make_clip(self.pipe, self.arguments, self.seed, cache, self.lines.named(title))
            if not is_recorded():
                return clip
            return make_clip(self.pipe, self.arguments, self.seed, cache, self.lines.line(self.label))

    def fit(self, choice: Choice) -> "Cacher[Any]":
        """Measure the constants of a method in one run of this call."""
        import torch

        from skipstone.pipelines.run.loop_timer import LoopTimer

        watch = self.lines.line("fitting")
        generator = torch.Generator().manual_seed(self.seed)
        with LoopTimer(self.pipe) as timer:
            timer.watch(lambda step: watch(step, 1, 0))
            return choice.fit(self.pipe, {**self.arguments, "generator": generator})

    def warm_up(self, method: "Cacher[Any] | None") -> None:
        """Warm the device up, so that no compared run includes its first use."""
        from skipstone.pipelines.clips.clip import warm_up

        warm_up(self.pipe, self.arguments, method)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the clip or image shows.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", show_default=False,
            help="The file to write: mp4, gif, webp or png (a contact sheet) for videos; png, jpg or webp "
            "for images.",
        ),
    ],
    opening: Opening,
    choice: Choice,
    options: RunOptions,
    fps: FpsOption = None,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Enlarge each pixel this many times.")] = 1,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a video or an image from a prompt, and skip the steps that a caching method can estimate."""
    with redirect_stdout(sys.stderr):
        options.check(choice)
        _check_file(output, media.VIDEO + media.IMAGE)
        method = options.method(choice, opening.model)
        rate = opening.frame_rate(fps)
        _check_video(options, rate, output)
        _check_format(output, rate, fps)
        asked = Asked(opening, prompt, seed, output, rate, scale)
        made: Result = (
            _streamed(asked, options, method) if options.stream else _whole(asked, choice, options, method)
        )
    show(made, as_json)


def _streamed(asked: Asked, options: RunOptions, method: "Cacher[Any] | None") -> Result:
    check_causal(asked.opening)
    film = Film(asked.rate or bundled.FPS, asked.scale)
    caching = partial(_attached, method=method, options=options)
    return stream_to(asked.output, asked.opening, asked.prompt, asked.seed, film, caching)


def _whole(asked: Asked, choice: Choice, options: RunOptions, method: "Cacher[Any] | None") -> Result:
    from skipstone.commands.progress import StepLines

    if asked.opening.frames is not None and is_causal(asked.opening):
        why = (
            f"{asked.opening.model} makes videos by --stream; without it, all of their frames see each other"
        )
        warnings.warn(why, Notice, stacklevel=2)
    pipe, arguments = asked.opening.open(asked.prompt)
    with StepLines(Console(stderr=True)) as lines, _film(pipe, options, asked) as film:
        runs = Runs(pipe, arguments, asked.seed, lines, options.label(choice, method))
        clips = _clips(runs, runs.fit(choice) if choice.is_fitted else method, options, film)
        name = type(pipe).__name__
        made = Generated(asked.output, asked.opening.model, name, arguments, asked.seed, asked.rate, *clips)
        _write(made, asked.scale, film)
    return made


def _attached(pipe: Any, method: "Cacher[Any] | None", options: RunOptions) -> Any:
    """What skips steps of a stream, while the context is open."""
    from skipstone.pipelines.attach import attach

    if options.no_cache:
        return nullcontext()
    return attach(pipe, method, speedup=options.speedup, graphs=options.graphs)


def _check_video(options: RunOptions, rate: float | None, output: Path) -> None:
    """Refuse to stream what is no video, or into a file that cannot be played before it is whole."""
    given = ["--chunked-vae"] * (options.chunked_vae is not None) + ["--stream"] * options.stream
    if rate is None and given:
        raise ValueError(f"{given[0]} is for videos, and this model makes images: drop it")
    if options.stream and output.suffix.lower() != ".mp4":
        raise ValueError(f"--stream encodes an mp4 while frames are made, got {str(output)!r}: name it so")


def _check_file(output: Path, extensions: tuple[str, ...]) -> None:
    media.check_extension(output, tuple(dict.fromkeys(extensions)))
    check_folder(output)


def _check_format(output: Path, rate: float | None, fps: float | None) -> None:
    """Refuse a file format that does not fit what the pipeline makes: images where it has no frame rate."""
    media.check_extension(output, media.IMAGE if rate is None else media.VIDEO)
    if fps is not None and output.suffix.lower() == ".png":
        raise ValueError(
            "a contact sheet (png) has no frames a second: drop --fps, or write mp4, gif or webp"
        )


@contextmanager
def _film(pipe: Any, options: RunOptions, asked: Asked) -> Iterator[Film | None]:
    """With ``--chunked-vae``, decode in chunks; a film for a clip that need not be in memory."""
    from skipstone.pipelines.vae.in_chunks import decode_in_chunks

    if options.chunked_vae is None:
        yield None
    elif asked.rate is not None and asked.output.suffix.lower() == ".mp4" and not options.compare:
        with Film(asked.rate, asked.scale) as film:
            yield film
    else:
        with decode_in_chunks(pipe, options.chunk):
            yield None


def _clips(
    runs: Runs, method: "Cacher[Any] | None", options: RunOptions, film: Film | None
) -> tuple[Any, ...]:
    """The clip; with ``--compare`` also the uncached clip, and how close the two are."""
    kept = _in_memory if film is None else partial(filmed, film, runs.pipe, options.chunk)
    if options.no_cache:
        return (kept(runs.uncached),)
    if options.quality is not None:
        method = _planned(runs, options.quality)
    if not options.compare:
        return (kept(lambda: runs.cached(method, options)),)
    from skipstone.metrics.quality import quality

    runs.warm_up(method)
    uncached = runs.uncached()
    cached = runs.cached(method, options)
    return cached, uncached, quality(cached.frames, uncached.frames)


def _in_memory(make: Callable[[], "Clip"]) -> "Clip":
    return make()


def _planned(runs: Runs, quality: float) -> "Cacher[Any]":
    """Find a plan that keeps a quality."""
    from skipstone.cachers.make import make
    from skipstone.commands.plan import Asked, find_plan
    from skipstone.schedules.search import Target

    return make(find_plan(runs.pipe, runs.arguments, runs.seed, Asked(Target(quality=quality)), runs.lines))


def _write(made: Generated, scale: int, film: Film | None) -> None:
    import torch

    if film is not None:
        film.write(made.output)
        return
    frames = made.clip.frames
    check_finite(frames)
    if made.uncached is not None:
        frames = torch.cat([made.uncached.frames, frames], dim=2)
    if made.fps is None:
        media.write_image(frames, made.output, scale)
    else:
        media.write_video(frames, made.output, made.fps, scale)
