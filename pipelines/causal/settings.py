"""How a causal video model was trained: in which chunks, and what each of them sees."""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Lt
from pydantic import create_model

from skipstone.declared import Declared, Natural, Positive, declarations
from skipstone.disk.errors import FileError
from skipstone.disk.reading import Schema, parsed, read_bytes

FILE = "causal.json"
"""The file in the folder of a pipeline that says so."""


@dataclass(frozen=True)
class CausalSettings(Declared):
    """The chunks of a causal model. All counts are of latent frames.

    Args:
        chunk: the frames that are made at once.
        window: the frames before them that they see, at least those of the largest chunk; None for all.
        sink: how many of the first frames of the video they always see, below ``window``.
        context_timestep: the time that the model was trained to see finished frames at.
        context_noise: the level of the noise that is added to what others see of finished frames, below 1. A
            model that was trained so does not copy small errors from chunk to chunk.
        first: the frames of the first chunk; None for as many as of the others.
    """

    chunk: Positive
    window: Positive | None = None
    sink: Natural = 0
    context_timestep: Annotated[float, Ge(0)] = 0.0
    context_noise: Annotated[float, Ge(0), Lt(1)] = 0.0
    first: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = max(self.chunk, self.begins_with)
        if self.window is not None and self.window < largest:
            raise ValueError(
                f"expected a window of at least one chunk of {largest} latent frames, got {self.window}"
            )
        if self.window is not None and self.sink >= self.window:
            raise ValueError(f"expected a sink below the window of {self.window} frames, got {self.sink}")
        if self.window is None and self.sink:
            raise ValueError(
                f"a sink of {self.sink} frames goes with a window, without which all are seen: give a window "
                "too, or leave the sink out"
            )

    @property
    def begins_with(self) -> int:
        """The frames of the first chunk."""
        return self.first or self.chunk

    def sizes(self, latents: int) -> Iterator[int]:
        """The frames of each chunk, for so many or a few more: all chunks are whole."""
        for size in chain([self.begins_with], repeat(self.chunk)):
            yield size
            latents -= size
            if latents <= 0:
                return

    def __str__(self) -> str:
        seen = "all frames" if self.window is None else f"{self.window} frames"
        return f"chunks of {self.chunk} latent frames that see {seen} before"


REMEDY = "write it as docs/streaming.md says, or remove it and give chunk=, window= and sink="

_kinds: dict[str, Any] = {name: (kind, None) for name, kind in declarations(CausalSettings).items()}

_Written: Any = create_model("_Written", __base__=Schema, **{**_kinds, "chunk": (Positive, ...)})
"""What a file may say: the same, as JSON."""


def settings_of(pipe: Any, given: Mapping[str, Any]) -> CausalSettings:
    """The settings of a pipeline's model.

    Args:
        pipe: the pipeline; the folder that it was loaded from may have them.
        given: settings that the caller gives instead; None leaves one to the folder.

    Raises:
        TypeError: a setting of another type.
        ValueError: nothing tells the chunk, settings out of range, or a file that cannot be read.
    """
    folder = Path(str(getattr(pipe, "name_or_path", "")))
    known = settings_in(folder)
    chosen = {name: value for name, value in given.items() if value is not None}
    asked = {**({} if known is None else asdict(known)), **chosen}
    if "chunk" not in asked:
        raise ValueError(
            f"nothing says that this {type(pipe).__name__} is causal: its folder has no {FILE}. If its model "
            "was trained to make chunks of frames, give chunk=, window= and sink= as it was trained; the "
            "frames of others can be streamed while they are decoded, by skipstone.stream_decode"
        )
    settings = CausalSettings(**asked)
    _check_time(settings, pipe, "" if "context_timestep" in chosen else f" in {str(folder / FILE)!r}")
    return settings


def _check_time(settings: CausalSettings, pipe: Any, place: str) -> None:
    """Refuse a time that no model was trained at."""
    last = pipe.scheduler.config.num_train_timesteps
    if settings.context_timestep > last:
        raise ValueError(
            f"expected a context_timestep up to {last}, the training steps of the scheduler, got "
            f"{settings.context_timestep:g}{place}"
        )


def settings_in(folder: Path) -> CausalSettings | None:
    """The settings in a pipeline's folder; None if it has none.

    Raises:
        FileError: a file that cannot be read, or settings out of range.
    """
    path = folder / FILE
    if not path.exists():
        return None
    place, content = repr(str(path)), read_bytes(path).removeprefix(codecs.BOM_UTF8)
    written = parsed(content, _Written, place, REMEDY)
    try:
        json.loads(content, object_pairs_hook=_refuse_twice)
        return CausalSettings(**written.model_dump(exclude_unset=True))
    except ValueError as error:
        raise FileError(f"{place} is damaged: {error}; {REMEDY}") from None


def _refuse_twice(pairs: Sequence[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice")
