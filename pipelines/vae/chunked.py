"""A decoder or an encoder that can be given a video chunk by chunk."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.vae.method_swap import swap_method
from skipstone.pipelines.vae.units import Forward, LostPartError, NothingYet, Unit

Key = tuple[str, int]
"""A part by its name, and which of its calls in one chunk: it remembers for each."""


LOST = "{} no longer runs in chunks: it was replaced or its hooks were removed"


@dataclass
class Video:
    """What is remembered of one video on its way through a decoder.

    Args:
        states: of the parts that remember, in the order of their calls.
        ended: the parts that have given all that waited.
        ending: the part that gives what waits in this pass.
    """

    units: dict[Key, Unit] = field(default_factory=dict)
    states: dict[Key, Any] = field(default_factory=dict)
    ended: set[Key] = field(default_factory=set)
    ending: Key | None = None
    calls: dict[str, int] = field(default_factory=dict)

    def run(
        self, name: str, unit: Unit, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The output of a part for the new frames."""
        number = self.calls[name] = self.calls.get(name, -1) + 1
        key = name, number
        if key in self.ended:
            # What passes through is only to reach the part that ends.
            return forward(*args, **kwargs)
        self.units[key] = unit
        state = self.states.setdefault(key, unit.new_state())
        run = unit.end if key == self.ending else unit.run
        return run(forward, state, args, kwargs)


class Chunked:
    """Give a decoder's parts their units, until `remove`. Outside a video it runs as it is written.

    Args:
        decoder: the decoder.
        units: the units of its parts by name.

    ``for_calls`` runs the calls of the decoder that belong to no video; None runs them as written.
    """

    def __init__(self, decoder: nn.Module, units: Mapping[str, Unit]) -> None:
        self._here = threading.local()
        self._names = units.keys()
        self.for_calls: Forward | None = None
        self.looks_ahead = any(unit.right for unit in units.values())
        parts = dict(decoder.named_modules())
        self._undo = [
            swap_method(parts[name], self._by(name, unit, parts[name])) for name, unit in units.items()
        ]
        self.forward: Forward = decoder.forward
        self._undo.append(swap_method(decoder, self._call))

    @contextmanager
    def instead(self, run: Forward) -> Iterator[None]:
        """Calls of the decoder inside, from this thread, go to another function."""
        self._here.run = run
        try:
            yield
        finally:
            del self._here.run

    def pass_of(self, video: Video, *args: Any, **kwargs: Any) -> Any:
        """The decoder's output for the next chunk of a video.

        Raises:
            NothingYet: all of it waits for later frames.
            LostPartError: a part ran without its unit.
        """
        video.calls.clear()
        self._here.video = video
        try:
            output = self.forward(*args, **kwargs)
        finally:
            del self._here.video
        if lost := self._names - video.calls.keys():
            raise LostPartError(LOST.format(min(lost) or "the decoder"))
        return output

    def remove(self) -> None:
        """Restore the parts; a second call does nothing."""
        for undo in reversed(self._undo):
            undo()

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        run: Forward = getattr(self._here, "run", None) or self.for_calls or self.forward
        return run(*args, **kwargs)

    def _by(self, name: str, unit: Unit, part: nn.Module) -> Forward:
        forward: Forward = part.forward

        def chunked(*args: Any, **kwargs: Any) -> Any:
            video: Video | None = getattr(self._here, "video", None)
            return forward(*args, **kwargs) if video is None else video.run(name, unit, forward, args, kwargs)

        return chunked


def outputs(video: Video, chunks: Iterable[Tensor], give: Callable[[Tensor], Any]) -> Iterator[Any]:
    """What a decoder makes of the chunks of a video, each piece when later chunks cannot change it.

    At the end one part after another gives what has waited in it, so no pass is larger than one part's.

    Args:
        video: what is remembered.
        chunks: of the decoder's input.
        give: runs a pass.
    """
    few = None
    for chunk in chunks:
        yield from _made(give, chunk)
        few = chunk[:, :, :1]
    assert few is not None
    number = 0
    while number < len(video.states):
        video.ending = list(video.states)[number]
        if video.units[video.ending].right:
            yield from _made(give, few)
        video.ended.add(video.ending)
        number += 1


def _made(give: Callable[[Tensor], Any], chunk: Tensor) -> Iterator[Any]:
    try:
        output = give(chunk)
    except NothingYet:
        return
    yield output


@dataclass
class _Shared:
    """A decoder that can run in chunks while it has users, and a mark for each."""

    users: list[None] = field(default_factory=list)
    chunked: Chunked | None = None


_installed: "weakref.WeakKeyDictionary[nn.Module, _Shared]" = weakref.WeakKeyDictionary()
"""The decoders that can run in chunks now."""

_lock = threading.RLock()
"""A stream that was given up ends when it is collected, which may be in the thread that holds the lock."""


@contextmanager
def installed(decoder: nn.Module, units: Mapping[str, Unit]) -> Iterator[Chunked]:
    """A decoder with its units; several users at once share them."""
    decoder = written(decoder)
    with _lock:
        shared = _installed.get(decoder) or _Shared()
        # From here on no other user that ends takes it away; one that ended just before has.
        shared.users.append(None)
        chunked = shared.chunked = shared.chunked or Chunked(decoder, units)
        _installed[decoder] = shared
    try:
        yield chunked
    finally:
        with _lock:
            shared.users.pop()
            if not shared.users:
                # When Python exits, the decoder may have gone from there already.
                _installed.pop(decoder, None)
                shared.chunked = None
                chunked.remove()
