"""An mp4 that is written while a pipeline decodes its frames."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

from skipstone.disk.writing import write
from skipstone.metrics.media import pixels_of
from skipstone.metrics.mp4 import Mp4, frames_in

if TYPE_CHECKING:
    from torch import Tensor

    from skipstone.pipelines.clips.clip import Clip
    from skipstone.pipelines.vae.streamed_calls import Take

NOT_FINITE = (
    "values of the picture are not finite numbers, so it is not written: try --dtype float32, other "
    "--guidance, or --no-cache to see whether the model itself makes them"
)


def check_finite(frames: "Tensor") -> None:
    """Refuse frames that no file can hold.

    Raises:
        ValueError: some values are not finite.
    """
    if not frames.isfinite().all():
        raise ValueError(NOT_FINITE)


class Film:
    """A clip whose frames are in a file, and not in memory. It is there until the context is left.

    Args:
        fps: frames a second.
        scale: whole factor by which pixels are repeated.

    ``frames`` is how many frames were taken.
    """

    def __init__(self, fps: float, scale: int) -> None:
        self.fps = fps
        self._scale = scale
        self.frames = 0
        self._folder = TemporaryDirectory()
        self._path = Path(self._folder.name) / "film.mp4"
        self._open = ExitStack()

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    @contextmanager
    def rolling(self) -> Iterator[None]:
        """Take what is taken inside; the file is finished at the end, also after an error.

        Raises:
            OSError: the encoder has not written all frames.
        """
        with self._open:
            yield

    def begin(self) -> "Take":
        """Begin anew; returns what takes frames.

        Its function raises ValueError for values that are not finite.
        """
        self._open.close()
        file, self.frames = self._open.enter_context(Mp4(self._path, self.fps)), 0

        def take(frames: "Tensor") -> None:
            check_finite(frames)
            file.append(pixels_of(frames, self._scale))
            self.frames += len(frames)

        return take

    @property
    def playable(self) -> int:
        """How many frames the finished file has: after an error, the encoder may not have written all."""
        return frames_in(self._path) if self.frames else 0

    def write(self, output: Path) -> None:
        """Bring the file to its place.

        Raises:
            FileError: it cannot be written; what was there is unchanged.
        """
        write(output, lambda part: _copy(self._path, part))


def filmed(film: Film, pipe: Any, chunk: int | None, make: Callable[[], "Clip"]) -> "Clip":
    """Film the last video that a pipeline makes, while it is decoded.

    Args:
        film: takes the frames.
        pipe: a pipeline that makes one video a call.
        chunk: how many latent frames to decode at a time; None for as many as fit.
        make: calls the pipeline.

    Raises:
        OSError: the encoder has not written all frames.
        ValueError: values of the picture are not finite.
    """
    from skipstone.pipelines.vae.streamed_calls import StreamedCalls

    with film.rolling(), StreamedCalls(pipe, chunk, film.begin):
        clip = make()
    # As many frames as there are in the file, in no memory.
    return replace(clip, frames=clip.frames[:1].expand(film.frames, -1, -1, -1))


def _copy(source: Path, part: Path) -> None:
    shutil.copyfile(source, part)
