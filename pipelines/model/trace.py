"""The order and the streams of a model's blocks, learned from one computed evaluation."""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.model.before_stack import BeforeStack, Foretold
from skipstone.pipelines.model.calls import (
    Call,
    NotUnderstoodError,
    Passes,
    Segment,
    Slot,
    Stretch,
    links,
    passes,
    segments,
)
from skipstone.pipelines.model.outputs import hollow

Place = tuple[int, int]
"""The number of a block list, and of a block in it."""


@dataclass
class Entry:
    """Streams at one point of an evaluation, and whether anything has written into them since."""

    tensors: dict[Slot, Tensor]
    versions: dict[Slot, int | None]

    @classmethod
    def of(cls, call: Call, slots: Sequence[Slot] | None = None, copy: bool = False) -> "Entry":
        """Hold a call's inputs, as copies if something writes into them or could do so unseen."""
        tensors = call.tensors()
        return cls.holding({s: tensors[s] for s in (tensors if slots is None else slots)}, copy)

    @classmethod
    def holding(cls, tensors: Mapping[Slot, Tensor], copy: bool = False) -> "Entry":
        """Hold tensors in the same way."""
        held = {s: t.clone() if copy or _unseen(t) else t for s, t in tensors.items()}
        return cls(held, {s: _version(t) for s, t in held.items()})

    @property
    def intact(self) -> bool:
        return all(_version(tensor) == self.versions[slot] for slot, tensor in self.tensors.items())


def _unseen(tensor: Tensor) -> bool:
    """Whether writes into a tensor go unseen; so a model is watched before it runs compiled."""
    return not torch.compiler.is_dynamo_compiling() and tensor.is_inference()


def _version(tensor: Tensor) -> int | None:
    return None if torch.compiler.is_dynamo_compiling() or tensor.is_inference() else tensor._version


@dataclass(frozen=True)
class Trace:
    """What was learned from one evaluation of a model.

    Args:
        places: the blocks in call order.
        passes: for each call how to skip it; None if that is not known.
        segments: the ranges of calls that are skipped as one.
        before_stack: the calls before the stack's first one.
        remarks: what is computed on every step because it could not be traced.
    """

    places: tuple[Place, ...]
    passes: tuple[Passes | None, ...]
    segments: tuple[Segment, ...]
    before_stack: BeforeStack
    remarks: tuple[str, ...] = ()

    @property
    def head(self) -> int:
        """Position of the stack's first call."""
        return len(self.before_stack.blanks)

    @property
    def start(self) -> int | None:
        """Position of the first call that may be skipped."""
        return self.segments[0].first if self.segments else None

    @cached_property
    def inner(self) -> tuple[Passes | None, ...]:
        """For each inner call of a segment how to skip it; None for all other calls."""
        within = [any(s.first < n < s.last for s in self.segments) for n in range(len(self.places))]
        return tuple(way if is_within else None for way, is_within in zip(self.passes, within, strict=True))

    @cached_property
    def skipped(self) -> frozenset[Place]:
        """The blocks that do not run when the stack is skipped."""
        return frozenset(p for n, p in enumerate(self.places) if self.segment_at(n) is not None)

    def has(self, position: int, place: Place) -> bool:
        """Whether that block was called at that position."""
        return position < len(self.places) and self.places[position] == place

    def segment_at(self, position: int) -> Segment | None:
        """The segment that a call belongs to."""
        return next((s for s in self.segments if s.first <= position <= s.last), None)


class _Chain:
    """Calls of one block list that pass on the same streams, collected as they happen.

    Calls of other lists may come between them.

    Args:
        call: the first call.
        joint: from an output's position in the call before it to the slot that takes that output.
        tail_blocks: how many last calls may be computed on every step.

    ``exits`` holds the outputs of that many calls and one more, newest first.
    """

    def __init__(self, call: Call, joint: Mapping[int, Slot], tail_blocks: int) -> None:
        self.first = self.last = call
        self.joint = joint
        self.exits: deque[Entry] = deque(maxlen=tail_blocks + 1)
        self.positions: list[int] = []
        self.problem: str | None = None
        self._hints: dict[int, Slot] = {}
        self._moves: bool | None = None

    def goes_on(self, call: Call) -> bool:
        """Whether a call takes the streams in the same slots as the calls before it."""
        taken = links(self.last, call)
        agrees = all(self._hints.get(position, slot) == slot for position, slot in taken.items())
        return agrees and all(self.last.continues(position, slot) for position, slot in taken.items())

    def extend(self, call: Call) -> None:
        """Add a call."""
        self._hints.update(links(self.last, call))
        self._moves = bool(self._moves) or call.main() is not self.last.main()

    def finished(self, call: Call) -> None:
        """Look at the outputs of the newest call."""
        self.last = call
        self.exits.appendleft(Entry.holding(call.output_tensors()))
        if self.first.outputs is None:
            self.first = call

    def passes(self) -> Passes | None:
        """How to skip any of the calls; None if that is not known."""
        try:
            if self._moves is False and self.first.main_slot() not in self._hints.values():
                raise NotUnderstoodError(f"{type(self.first.block).__name__} does not change its main stream")
            return passes(self.first, self._hints)
        except NotUnderstoodError as problem:
            self.problem = str(problem)
            return None

    def work(self, inner: Passes) -> int:
        """The work of the calls: the size of the streams times the number of calls."""
        tensors = self.first.tensors()
        return sum(tensors[slot].numel() for slot in inner.slots if slot is not None) * len(self.positions)

    def stretch(self, inner: Passes, head: int, tail: int) -> Stretch:
        """The calls without the first ``head`` and the last ``tail``."""
        exits = inner if tail else self._last_exits(inner)
        first, last = self.positions[head], self.positions[-1 - tail]
        return Stretch(first, last, inner, exits, {} if head else self.joint)

    def _last_exits(self, inner: Passes) -> Passes:
        """The exits of the last call, which may drop a stream by returning None."""
        dropped = [output is None for output in self.last.output_tuple()]
        slots = tuple(None if gone else slot for slot, gone in zip(inner.slots, dropped, strict=True))
        return replace(inner, slots=slots)


class Learner:
    """Watch a computed evaluation, call by call.

    Args:
        head_blocks: how many first blocks of the stack run on every step.
        tail_blocks: how many last blocks of the stack run on every step.

    ``intact`` tells whether the model left its blocks' outputs unchanged.
    """

    def __init__(self, head_blocks: int, tail_blocks: int = 0) -> None:
        self._head_blocks = head_blocks
        self._tail_blocks = tail_blocks
        self._places: list[Place] = []
        self._chains: list[_Chain] = []
        self._open: dict[int, _Chain] = {}
        self._previous: Call | None = None
        self._entries: dict[int, Entry] = {}
        self._blanks: list[Any] = []
        self.intact = True

    def place_in_chain(self, call: Call) -> int:
        """How many blocks have passed on the streams that a call will take."""
        chain = self._open.get(call.list_index)
        return len(chain.positions) if chain is not None and chain.goes_on(call) else 0

    def before(self, call: Call) -> None:
        """Look at a call's inputs before the block runs."""
        chain = self._open.get(call.list_index)
        self.intact &= chain is None or chain.exits[0].intact
        if chain is not None and chain.goes_on(call):
            chain.extend(call)
        else:
            joint = {} if self._previous is None else links(self._previous, call)
            chain = _Chain(call, joint, self._tail_blocks)
            self._chains.append(chain)
            self._open[call.list_index] = chain
        if len(chain.positions) in (0, self._head_blocks):
            self._entries[len(self._places)] = Entry.of(call)
        chain.positions.append(len(self._places))
        self._places.append(call.place)

    def after(self, call: Call) -> None:
        """Look at a finished call."""
        self._previous = call
        self._blanks.append(hollow(call.outputs, math.nan))
        self._open[call.list_index].finished(call)

    def trace(self) -> Trace:
        """The trace of the evaluation.

        Raises:
            NotUnderstoodError: no block's outputs could be traced to its inputs.
        """
        known = [(chain, chain.passes()) for chain in self._chains]
        stack = self._stack([(chain, inner) for chain, inner in known if inner is not None])
        problem = next((chain.problem for chain in self._chains if chain.problem is not None), None)
        if not stack and problem is not None:
            raise NotUnderstoodError(problem)
        stretches = self._stretches(stack)
        by_call = {position: inner for chain, inner in known for position in chain.positions}
        every = tuple(by_call[position] for position in range(len(self._places)))
        before_stack = self._before_stack(stack[0][0]) if stack else BeforeStack()
        remarks = _remarks(chain for chain in self._chains if chain.positions[0] >= len(before_stack.blanks))
        return Trace(tuple(self._places), every, tuple(segments(stretches)), before_stack, remarks)

    def _before_stack(self, first: _Chain) -> BeforeStack:
        """The calls before the stack's first chain."""
        head = first.positions[0]
        if not head:
            return BeforeStack()
        foretold = Foretold.of(self._chains[0].first, first.first)
        remarks = _remarks(chain for chain in self._chains if chain.positions[0] < head)
        return BeforeStack(tuple(self._blanks[:head]), foretold, remarks)

    def ends(self, trace: Trace) -> list[tuple[Segment, Entry, Entry]]:
        """Each segment, with the streams that entered and left it."""
        exits = {
            position: exit
            for chain in self._chains
            for position, exit in zip(reversed(chain.positions), chain.exits, strict=False)
        }
        return [(s, self._entries[s.first], exits[s.last]) for s in trace.segments]

    def _stretches(self, stack: list[tuple[_Chain, Passes]]) -> list[Stretch]:
        """The skipped parts of the chains: all but the stack's first and last calls."""
        stretches, tail = [], self._tail_blocks
        for n, (chain, inner) in reversed([*enumerate(stack)]):
            head, length = (0 if n else self._head_blocks), len(chain.positions)
            if head + tail < length:
                stretches.append(chain.stretch(inner, head, tail))
            tail = max(tail - length, 0)
        return stretches[::-1]

    def _stack(self, understood: list[tuple[_Chain, Passes]]) -> list[tuple[_Chain, Passes]]:
        """The skipped chains, in call order.

        Chains that run between the calls of an earlier chain belong to it. Small chains at the start, such as
        the refiners of text, tell a method little about the sample. They are computed, and the method decides
        after them.
        """
        most = max((chain.work(inner) for chain, inner in understood), default=0)
        stack: list[tuple[_Chain, Passes]] = []
        for chain, inner in understood:
            leads = 10 * chain.work(inner) >= most and len(chain.positions) > self._head_blocks
            if chain.positions[0] > stack[-1][0].positions[-1] if stack else leads:
                stack.append((chain, inner))
        return stack


def _remarks(chains: Iterable[_Chain]) -> tuple[str, ...]:
    """Why some chains do not belong to the stack."""
    problems = dict.fromkeys(chain.problem for chain in chains if chain.problem is not None)
    return tuple(f"{problem}: it is computed on every step" for problem in problems)
