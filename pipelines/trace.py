"""The order and the streams of a model's blocks, learned while one evaluation is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from skipstone.pipelines.streams import Call, Passes, Segment, Slot, Stretch, links, passes, segments

Place = tuple[int, int]
"""Which block list, and which block of it."""


@dataclass
class Entry:
    """The streams as they enter a segment, and whether a block has written into them since."""

    tensors: dict[Slot, Tensor]
    versions: dict[Slot, int | None]

    @classmethod
    def of(cls, call: Call, slots: Sequence[Slot] | None = None, copy: bool = False) -> "Entry":
        """Hold a call's inputs; copies where a block is known to write into them or could do so unseen."""
        tensors = call.tensors()
        held = {s: tensors[s] for s in (tensors if slots is None else slots)}
        held = {s: t.clone() if copy or t.is_inference() else t for s, t in held.items()}
        return cls(held, {s: _version(t) for s, t in held.items()})

    @property
    def intact(self) -> bool:
        return all(_version(tensor) == self.versions[slot] for slot, tensor in self.tensors.items())


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


@dataclass(frozen=True)
class Trace:
    """What one evaluation of a model showed.

    Args:
        places: the blocks in call order.
        passes: for each call, how to leave it out.
        segments: the parts that are skipped as one.
    """

    places: tuple[Place, ...]
    passes: tuple[Passes, ...]
    segments: tuple[Segment, ...]

    def has(self, position: int, place: Place) -> bool:
        """Whether that block was called at that position."""
        return position < len(self.places) and self.places[position] == place

    def segment_at(self, position: int) -> Segment | None:
        """The segment that a call belongs to."""
        return next((s for s in self.segments if s.first <= position <= s.last), None)


@dataclass
class _List:
    """The calls of one block list, while they are being made."""

    first: int
    joint: Mapping[int, Slot]
    call: Call
    hints: dict[int, Slot] = field(default_factory=dict)
    last: int = 0


class Learner:
    """Watches a computed evaluation call by call.

    Args:
        start: position of the first call that may be skipped.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._places: list[Place] = []
        self._lists: list[_List] = []
        self._previous: Call | None = None
        self._ends: list[Call] = []
        self.entries: dict[int, Entry] = {}

    def before(self, call: Call) -> None:
        """Look at a call's inputs before the block runs."""
        position = len(self._places)
        self._places.append(call.place)
        same_list = self._previous is not None and self._previous.list_index == call.list_index
        if not same_list or position == self._start:
            self.entries[position] = Entry.of(call)
        found = links(self._previous, call) if self._previous is not None else {}
        if same_list:
            self._lists[-1].hints.update(found)
        else:
            self._ends += [] if self._previous is None else [self._previous]
            self._lists.append(_List(position, found, call))

    def after(self, call: Call) -> None:
        """Look at a finished call."""
        self._previous = call
        self._lists[-1].last = len(self._places) - 1
        if self._lists[-1].call.outputs is None:
            self._lists[-1].call = call

    def trace(self) -> Trace:
        """What was learned.

        Raises:
            NotUnderstoodError: a block's outputs could not be traced to its inputs.
        """
        assert self._previous is not None
        ends = [*self._ends, self._previous]
        stretches = [_stretch(run, end) for run, end in zip(self._lists, ends, strict=True)]
        every = tuple(s.passes for s in stretches for _ in range(s.first, s.last + 1))
        return Trace(tuple(self._places), every, tuple(segments(stretches, self._start)))

    def exits(self, trace: Trace) -> list[Call]:
        """The last call of each segment."""
        ends = {run.last: end for run, end in zip(self._lists, [*self._ends, self._previous], strict=True)}
        return [end for s in trace.segments if (end := ends[s.last]) is not None]


def _stretch(run: _List, end: Call) -> Stretch:
    inner = passes(run.call, run.hints)
    dropped = [output is None for output in end.output_tuple()]
    slots = tuple(None if gone else slot for slot, gone in zip(inner.slots, dropped, strict=True))
    return Stretch(run.first, run.last, inner, replace(inner, slots=slots), run.joint)
