"""`skipstone generate --stream`: frames go to the file as a causal model makes them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from skipstone.commands.film import Film
from skipstone.commands.opening import Opening
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.arguments import call_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.cachers.contract.words import Step
    from skipstone.pipelines.attach import CacheHandle

FRAMES = 400
"""How many frames are made where none are asked for."""

Caching = Callable[[Any], "AbstractContextManager[CacheHandle | None]"]
"""Attaches what skips steps to a pipeline; gives None where nothing does."""


@dataclass
class Streamed:
    """What was made and measured.

    Args:
        output: the file that was written.
        model: the name of a bundled model, or a folder.
        prompt: what the video shows.
        seed: of the noise.
        fps: frames a second.
        frames: how many were made so far.
        height: in pixels.
        width: in pixels.
        first_seconds: when the first frames were ready.
        seconds: when the last ones were; loading the model does not count.
        method: what skipped steps within the chunks; None if nothing did.
        computed: evaluations of the model that were computed within them, where something skips.
        skipped: those that were skipped.
        notes: what else there is to know of the last chunk.
    """

    output: str
    model: str
    prompt: str
    seed: int
    fps: float
    frames: int = 0
    height: int = 0
    width: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0
    method: str | None = None
    computed: int = 0
    skipped: int = 0
    notes: tuple[str, ...] = ()

    def add(self, frames: "Tensor", seconds: float) -> None:
        """Count frames, ``(frames, height, width, 3)``."""
        self.first_seconds, self.seconds = self.first_seconds or seconds, seconds
        self.frames += len(frames)
        self.height, self.width = frames.shape[1:3]

    def count(self, step: "Step", computed: int, skipped: int) -> None:
        """Count the evaluations of a step."""
        del step
        self.computed += computed
        self.skipped += skipped

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The result in words."""
        yield f"{self.frames} frames in {self.seconds:.1f} s, the first after {self.first_seconds:.1f} s"
        if self.method is not None:
            total = self.computed + self.skipped
            yield f"{self.method}: {self.computed} of {total} evaluations computed within the chunks"
        yield from self.notes
        yield f"wrote {self.output}"


def is_causal(opening: Opening) -> bool:
    """Whether a model's folder says that it is causal.

    Raises:
        ValueError: there is no such model, or the file that says so cannot be read.
    """
    from skipstone.pipelines.causal.settings import settings_in

    location = opening.source.location
    return isinstance(location, Path) and settings_in(location) is not None


def check_causal(opening: Opening) -> None:
    """Refuse a model that cannot be streamed, before it is loaded.

    Raises:
        ValueError: nothing says that it is causal.
    """
    from skipstone.pipelines.causal.settings import FILE

    if not is_causal(opening):
        raise ValueError(
            f"{opening.model} is not known to be causal, so --stream cannot make its frames in turn: its "
            f"folder has no {FILE}; --chunked-vae writes the frames of any video model while they are decoded"
        )


def stream_to(
    output: Path, opening: Opening, prompt: str, seed: int, film: Film, caching: Caching
) -> Streamed:
    """Make a video whose frames are encoded as they come; what an interrupt or an error leaves is kept, too.

    Raises:
        KeyboardInterrupt: it was interrupted.
        ValueError: the model cannot make this.
    """
    from skipstone.pipelines.clips.stream import stream

    pipe = opening.loaded()
    call = _arguments(opening, pipe, prompt)
    pieces = stream(pipe, **call, generator=_generator(seed))
    made = Streamed(str(output), opening.model, prompt, seed, film.fps)
    with film, _counted(made, caching(pipe)), _kept(film, output, call["frames"]):
        _take(pieces, pipe.video_processor, film, made, call["frames"])
        film.write(output)
    return made


@contextmanager
def _counted(made: Streamed, caching: "AbstractContextManager[CacheHandle | None]") -> Iterator[None]:
    """Count what is skipped inside."""
    with caching as cache:
        if cache is not None:
            cache.watch(made.count)
        yield
        if cache is not None:
            made.method, made.notes = cache.method, tuple(cache.last_run.notes)


@contextmanager
def _kept(film: Film, output: Path, asked: int) -> Iterator[None]:
    """Write what there is when what is done inside does not come to its end."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as why:
        if frames := film.playable:
            film.write(output)
            reason = (
                "interrupted" if isinstance(why, KeyboardInterrupt) else f"stopped by {type(why).__name__}"
            )
            print(f"{reason}: {output} has the first {frames} of {asked} frames")
        raise


def _arguments(opening: Opening, pipe: Any, prompt: str) -> dict[str, Any]:
    """The arguments of a stream."""
    asked = call_arguments(pipe, opening.source, opening.options(prompt))
    asked.pop("num_frames", None)
    bundled.warn(opening.model, asked)
    names = {"num_inference_steps": "steps"}
    return {
        "frames": opening.frames or FRAMES,
        **{names.get(name, name): value for name, value in asked.items()},
    }


def _generator(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)


def _take(pieces: "Iterator[Tensor]", processor: Any, film: Film, made: Streamed, asked: int) -> None:
    """Film frames as they come."""
    from skipstone.commands.progress import FrameBar

    begin = time.perf_counter()
    with FrameBar(Console(stderr=True), asked) as bar, film.rolling():
        take = film.begin()
        for piece in pieces:
            frames = processor.postprocess_video(piece, output_type="pt")[0].permute(0, 2, 3, 1)
            take(frames)
            made.add(frames, time.perf_counter() - begin)
            bar.add(len(frames))
