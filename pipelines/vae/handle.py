"""What `decode_in_chunks` and `encode_in_chunks` return."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class ChunkStats:
    """One call of a decoder or an encoder.

    Args:
        chunks: in how many chunks the video was run.
        why_whole: why it was run as it is written; None if it was not.
        notes: what else there is to know, such as a chunk that did not fit the memory.
    """

    chunks: int
    why_whole: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.chunks} chunks" if self.why_whole is None else f"whole: {self.why_whole}"
        return "; ".join((text, *self.notes))


class InChunks:
    """An autoencoder that decodes or encodes in chunks, until `remove`.

    ``last_call`` tells how the last video was run; None before the first one.
    """

    def __init__(self) -> None:
        self.last_call: ChunkStats | None = None
        self._undo = ExitStack()

    def when_removed(self, undo: Callable[[], None]) -> None:
        """Call a function on removal."""
        self._undo.callback(undo)

    def remove(self) -> None:
        """Restore the autoencoder; a second call does nothing."""
        self._undo.close()

    def __enter__(self) -> "InChunks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


class AsWritten(InChunks):
    """A decoder or an encoder that cannot run in chunks, and runs as it is written.

    Args:
        coder: it.
        why: why it cannot.
    """

    def __init__(self, coder: Any, why: str) -> None:
        super().__init__()
        self._stats = ChunkStats(1, why)
        self._undo.callback(coder.register_forward_pre_hook(self._see).remove)

    def _see(self, *_: Any) -> None:
        self.last_call = self._stats
