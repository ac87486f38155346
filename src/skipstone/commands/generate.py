"""`skipstone generate`: check the request, load the pipeline, run it, measure, write."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from skipstone.commands.choice import Choice
from skipstone.commands.film import Film, check_finite
from skipstone.commands.generated import Generated
from skipstone.commands.opening import Opening
from skipstone.commands.options import FITTING, FpsOption, JsonOption, QualityOption, SeedOption, finite
from skipstone.commands.output import show
from skipstone.disk.writing import check_folder
from skipstone.metrics import media

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher
    from skipstone.commands.progress import StepLines
    from skipstone.pipelines.clips import Clip


@dataclass(frozen=True)
class RunOptions:
    """How to run: by a plan instead of a method, without a cache, with graphs, or beside an uncached run."""

    speedup: Annotated[
        float | None,
        typer.Option(
            min=1, callback=finite,
            help="Target speedup, instead of a method; skipstone plans the steps. The first run with new "
            "settings is recorded, then repeated with the plan.",
        ),
    ] = None  # fmt: skip
    quality: QualityOption = None
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every step, without a cache.")] = False
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Replay skipped steps as CUDA graphs where possible.")
    ] = False
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also run without a cache; write both side by side, and measure."),
    ] = False
    chunked_vae: Annotated[
        str | None,
        typer.Option(
            "--chunked-vae", metavar="[N]",
            help="Decode N latent frames at a time, or as many as fit; an mp4 is written meanwhile.",
        ),
    ] = None  # fmt: skip

    @property
    def chunk(self) -> int | None:
        """How many latent frames to decode at a time; None for as many as fit.

        Raises:
            ValueError: no number from 1.
        """
        asked = self.chunked_vae
        if asked is None or asked == FITTING:
            return None
        if not asked.isdecimal() or not int(asked):
            raise ValueError(f"--chunked-vae takes a number from 1, or nothing for what fits; got {asked}")
        return int(asked)

    def check(self, choice: Choice) -> None:
        """Refuse options that contradict each other.

        Raises:
            ValueError: more than one way to skip, or one beside ``--no-cache``.
        """
        targets = {"--speedup": self.speedup, "--quality": self.quality}
        ways = [*(name for name, value in targets.items() if value is not None), *choice.given]
        others = ["--graphs"] * self.graphs + ["--compare"] * self.compare
        if self.no_cache and (ways or others):
            raise ValueError(
                f"--no-cache leaves nothing for {', '.join(ways or others)} to do: drop one of them"
            )
        _ = self.chunk
        if len(ways) > 1 and ways != ["--method", "--set"]:
            raise ValueError(f"{', '.join(ways)}: each of them says how to skip, give one")

    def method(self, choice: Choice, model: str) -> "Cacher[Any] | None":
        """The method, if it is known before the pipeline is loaded; else None."""
        later = self.no_cache or self.speedup is not None or self.quality is not None or choice.is_fitted
        return None if later else choice.make(model)

    def label(self, choice: Choice, method: "Cacher[Any] | None") -> str:
        """What to call a cached run: the name that was typed, or else the method's own."""
        return choice.label or ("planned" if method is None else method.name)


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
        from skipstone.pipelines.clips import make_clip

        return make_clip(self.pipe, self.arguments, self.seed, watch=self.lines.line("uncached"))

    def cached(self, method: "Cacher[Any] | None", options: RunOptions) -> "Clip":
        """Run with the method, or with a plan for the speedup; repeat a recorded run with its plan."""
        from skipstone.cachers.contract.words import Reason
        from skipstone.pipelines.attach import attach
        from skipstone.pipelines.clips import make_clip

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
        from skipstone.pipelines.clips import warm_up

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
    from skipstone.commands.progress import StepLines

    with redirect_stdout(sys.stderr):
        options.check(choice)
        _check_file(output, media.VIDEO + media.IMAGE)
        method = options.method(choice, opening.model)
        rate = opening.frame_rate(fps)
        if rate is None and options.chunked_vae is not None:
            raise ValueError("--chunked-vae decodes videos, and this model makes images: drop it")
        _check_format(output, rate, fps)
        pipe, arguments = opening.open(prompt)
        with StepLines(Console(stderr=True)) as lines, _film(pipe, options, output, rate, scale) as film:
            runs = Runs(pipe, arguments, seed, lines, options.label(choice, method))
            clips = _clips(runs, runs.fit(choice) if choice.is_fitted else method, options, film)
            made = Generated(output, opening.model, type(pipe).__name__, arguments, seed, rate, *clips)
            _write(made, scale, film)
    show(made, as_json)


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
def _film(
    pipe: Any, options: RunOptions, output: Path, rate: float | None, scale: int
) -> Iterator[Film | None]:
    """With ``--chunked-vae``, decode in chunks; a film for a clip that need not be in memory."""
    from skipstone.pipelines.vae.in_chunks import decode_in_chunks

    if options.chunked_vae is None:
        yield None
    elif rate is not None and output.suffix.lower() == ".mp4" and not options.compare:
        with Film(pipe, options.chunk, rate, scale) as film:
            yield film
    else:
        with decode_in_chunks(pipe, options.chunk):
            yield None


def _clips(
    runs: Runs, method: "Cacher[Any] | None", options: RunOptions, film: Film | None
) -> tuple[Any, ...]:
    """The clip; with ``--compare`` also the uncached clip, and how close the two are."""
    kept = _in_memory if film is None else film.of
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
