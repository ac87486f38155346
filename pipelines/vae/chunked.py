"""A decoder that can be given a video chunk by chunk."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from skipstone.pipelines.vae.units import Forward, Unit


@dataclass
class Video:
    """What is remembered of one video on its way through a decoder.

    A part that is called twice in a chunk remembers for each call.
    """

    states: dict[tuple[str, int], Any] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def run(
        self, name: str, unit: Unit, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The output of a part for the new frames."""
        number = self.calls[name] = self.calls.get(name, -1) + 1
        state = self.states.setdefault((name, number), unit.new_state())
        return unit.run(forward, state, args, kwargs)


class Chunked:
    """Give a decoder's parts their units, until `remove`. Outside `chunk` it runs as it is written.

    Args:
        decoder: the decoder.
        units: the units of its parts by name.
    """

    def __init__(self, decoder: nn.Module, units: Mapping[str, Unit]) -> None:
        self._here = threading.local()
        parts = dict(decoder.named_modules())
        self._swaps = [Swap(parts[name], self._by(name, unit, parts[name])) for name, unit in units.items()]

    @contextmanager
    def chunk(self, video: Video) -> Iterator[None]:
        """Calls of the decoder inside, from this thread, go on with a video."""
        video.calls.clear()
        self._here.video = video
        try:
            yield
        finally:
            del self._here.video

    def remove(self) -> None:
        """Restore the parts; a second call does nothing."""
        for swap in self._swaps:
            swap.undo()

    def _by(self, name: str, unit: Unit, part: nn.Module) -> Forward:
        forward: Forward = part.forward

        def chunked(*args: Any, **kwargs: Any) -> Any:
            video: Video | None = getattr(self._here, "video", None)
            return forward(*args, **kwargs) if video is None else video.run(name, unit, forward, args, kwargs)

        return chunked


class Swap:
    """Another forward for one module, until `undo`. Whatever replaced it before comes back."""

    def __init__(self, part: nn.Module, forward: Forward) -> None:
        self._part = part
        self._before = part.__dict__.get("forward")
        self._forward = forward
        part.forward = forward

    def undo(self) -> None:
        if self._part.__dict__.get("forward") is not self._forward:
            return
        if self._before is None:
            del self._part.forward
        else:
            self._part.forward = self._before
