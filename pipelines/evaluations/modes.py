"""The ways through a model's blocks: learn their order, compute, skip, or leave them out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import Weights
from skipstone.pipelines.memory.snapshots import Residual, Snapshots
from skipstone.pipelines.model.calls import Call, Segment, Slot
from skipstone.pipelines.model.trace import Entry, Learner, Place, Trace


class Mode(Protocol):
    """Stand in for the blocks during one evaluation."""

    def call(self, call: Call) -> Any:
        """The outputs for the model of this call."""


class Learning:
    """Compute, and watch how the streams flow.

    Args:
        head_blocks: how many first blocks of the stack run on every step.
        tail_blocks: how many last blocks of the stack run on every step.
    """

    def __init__(self, head_blocks: int, tail_blocks: int) -> None:
        self._learner = Learner(head_blocks, tail_blocks)

    def place_in_chain(self, call: Call) -> int:
        """How many blocks have passed on the streams that a call will take."""
        return self._learner.place_in_chain(call)

    def call(self, call: Call) -> Any:
        self._learner.before(call)
        outputs = call.run()
        self._learner.after(replace(call, outputs=outputs))
        return outputs

    def learned(self) -> tuple[Trace, list[Residual] | None]:
        """The trace, and the segments' residuals unless a block wrote into its input.

        Raises:
            NotUnderstoodError: a block's outputs could not be traced to its inputs.
        """
        trace = self._learner.trace()
        ends = self._learner.ends(trace)
        if not self._learner.intact or not all(entry.intact and end.intact for _, entry, end in ends):
            return trace, None
        return trace, [residual(segment, entry, end.tensors) for segment, entry, end in ends]


class Computing:
    """Compute, and take each segment's residual on the way.

    Args:
        trace: the trace of an earlier evaluation.
        copy: whether to copy inputs, because blocks write into them.
        coordinates: the elements of the residuals to keep; None for all.
    """

    def __init__(self, trace: Trace, copy: bool, coordinates: Coordinates | None = None) -> None:
        self._trace = trace
        self._copy = copy
        self._coordinates = coordinates
        self._position = 0
        self._entry: Entry | None = None
        self._residuals: list[Residual] = []
        self.as_learned = True
        self.intact = True

    def call(self, call: Call) -> Any:
        position, self._position = self._position, self._position + 1
        self.as_learned &= self._trace.has(position, call.place)
        segment = self._trace.segment_at(position) if self.as_learned else None
        if segment is not None and position == segment.first:
            self._entry = self._entering(call, segment)
        outputs = call.run()
        if segment is not None and position == segment.last:
            self._leave(segment, replace(call, outputs=outputs))
        return outputs

    def residuals(self) -> list[Residual] | None:
        """The segments' residuals, unless the blocks differed from the trace or wrote into their inputs."""
        complete = self.as_learned and self.intact and self._position == len(self._trace.places)
        return self._residuals if complete else None

    def _leave(self, segment: Segment, call: Call) -> None:
        assert self._entry is not None
        self.intact &= self._entry.intact
        self._residuals.append(residual(segment, self._entry, call.output_tensors(), self._coordinates))
        self._entry = None

    def _entering(self, call: Call, segment: Segment) -> Entry:
        if self._coordinates is None:
            return Entry.of(call, segment.bases, self._copy)
        tensors = call.tensors()
        return Entry.holding({slot: self._coordinates.of(tensors[slot]) for slot in segment.bases})


class Passing:
    """Leave the blocks out, for a run of the model whose output is not used.

    Args:
        trace: the trace of an earlier evaluation.
        position: how many calls come before the first one that is left out.
        skips_before_stack: whether to leave out the calls before the stack too.
    """

    def __init__(self, trace: Trace, position: int, skips_before_stack: bool) -> None:
        self._trace = trace
        self._position = position
        self._skips_before_stack = skips_before_stack

    def call(self, call: Call) -> Any:
        position, self._position = self._position, self._position + 1
        if self._skips_before_stack and position < self._trace.head:
            return self._trace.before_stack.blanks[position]
        known = self._trace.passes[position] if self._trace.has(position, call.place) else None
        return call.run() if known is None else known.through(call.tensors())


class Skipping:
    """Pass the streams over each segment, and add the estimated residuals at its end.

    The estimate is added to the segment's inputs. Anything that the model adds between two of its blocks,
    such as the terms of a control network, is already in the residual and must not count twice.

    Args:
        trace: the trace of an earlier evaluation.
        snapshots: the residuals of computed steps.
        weights: the predictor's weights.
        position: how many calls come before the first skipped one.
        copy: whether to copy the streams, because something writes into them on the way.
        skips_before_stack: whether to leave out the calls before the stack too.
    """

    def __init__(
        self,
        trace: Trace,
        snapshots: Snapshots,
        weights: Weights,
        position: int,
        copy: bool,
        skips_before_stack: bool,
    ) -> None:
        self._trace = trace
        self._copy = copy
        self._snapshots = snapshots
        self._weights = weights
        self._position = position
        self._inner = trace.inner
        self._skips_before_stack = skips_before_stack
        self._base: dict[Any, Tensor] = {}
        self._done = 0

    def at(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        """The outputs of one block for the model, on a fast path for blocks that only pass streams on."""
        position = self._position
        passes = self._inner[position] if self._trace.has(position, place) else None
        if passes is not None:
            self._position = position + 1
            return passes.past(args, kwargs)
        call = Call(place, block, args, kwargs)
        return self.call(call) if call.tensors() else call.run()

    def call(self, call: Call) -> Any:
        position, self._position = self._position, self._position + 1
        if not self._trace.has(position, call.place):
            raise RuntimeError(
                f"{type(call.block).__name__} was called out of the order learned on an earlier step, in a "
                "step that is being skipped; skipstone cannot cache a model that changes its blocks mid-run"
            )
        if self._skips_before_stack and position < self._trace.head:
            return self._trace.before_stack.blanks[position]
        segment = self._trace.segment_at(position)
        if segment is None:
            return call.run()
        if position == segment.first:
            self._base = Entry.of(call, segment.bases, self._copy).tensors
        if position == segment.last:
            return self._estimate(segment)
        passes = self._trace.passes[position]
        return call.run() if passes is None else passes.through(call.tensors())

    def _estimate(self, segment: Segment) -> Any:
        number, self._done = self._done, self._done + 1
        streams = {
            slot: self._snapshots.estimate(number, slot, self._base[slot], self._weights)
            for slot in segment.exits.slots
            if slot is not None
        }
        return segment.exits.through(streams)


def residual(
    segment: Segment, entry: Entry, outputs: Mapping[Slot, Tensor], coordinates: Coordinates | None = None
) -> Residual:
    """What a segment added to each stream that leaves it, the largest stream first."""
    leaving = [(slot, outputs[n]) for n, slot in enumerate(segment.exits.slots) if slot is not None]
    leaving.sort(key=lambda one: one[1].numel(), reverse=True)
    seen = coordinates.of if coordinates is not None else Tensor.detach
    return {slot: seen(output).detach() - entry.tensors[slot].detach() for slot, output in leaving}
