"""The memory of a range of blocks within a run, and its estimates when the range is skipped."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Layer
from skipstone.pipelines.memory.layer import LayerMemory
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.memory.storage import Storage
from skipstone.pipelines.model.calls import Call, NotUnderstoodError, Passes, Slot, passes


class BlockMemory(LayerMemory):
    """The memory of one block or of several in a row: their residual for each stream that passes through.

    ``members`` are the calls of its blocks in order, each with the way to skip it once that is known.
    ``is_complete`` tells whether no more calls will follow, ``writes_in_place`` whether inputs must be
    copied.
    """

    def __init__(self, layer: Layer, cacher: Cacher[Any] | None, storage: Storage) -> None:
        super().__init__(layer, cacher, storage)
        self.members: dict[Hashable, Passes | None] = {}
        self.is_complete = False
        self.writes_in_place = False

    def is_at(self, position: int, member: Hashable) -> bool:
        """Whether a call is the one at a position."""
        return list(self.members).index(member) == position

    def ends_with(self, member: Hashable) -> bool:
        """Whether a call is known to be the last one."""
        return self.is_complete and next(reversed(self.members)) == member

    def learn(self, member: Hashable, call: Call, hints: Mapping[int, Slot]) -> None:
        """Find the streams of a finished call.

        Args:
            member: the call's name.
            call: the call.
            hints: from an output's position to its slot, as seen between two blocks.
        """
        try:
            found = passes(call, hints)
        except NotUnderstoodError as problem:
            self.cacher, self.problem = None, f"{problem}: it is computed on every step"
            return
        pairs = zip(found.slots, call.output_tuple(), strict=True)
        slots = tuple(None if output is None else slot for slot, output in pairs)
        self.members[member] = Passes(slots, found.is_tuple)

    def keep_added(self, inputs: Mapping[Slot, Tensor], last: Call, now: Now) -> None:
        """Learn from the first block's inputs, as they were then, and the last block's finished call."""
        outputs, exits = last.output_tensors(), self._exits()
        if not all(slot in inputs and inputs[slot].shape == outputs[n].shape for n, slot in exits.items()):
            name = type(last.block).__name__
            self.cacher, self.problem = None, f"{name} is not called alike each time: it is never skipped"
            return
        self._keep({s: (outputs[n] - inputs[s]).detach() for n, s in exits.items()}, now)

    def keep_nothing(self, now: Now) -> None:
        """Note that calls wrote into their inputs, which are copied from now on."""
        self.writes_in_place = True
        self._keep(None, replace(now, half=None))

    def through(self, member: Hashable, call: Call) -> Any:
        """The outputs of a skipped block, which passes the streams on."""
        how = self.members[member]
        assert how is not None
        return how.through(call.tensors())

    def estimate_from(self, inputs: Mapping[Slot, Tensor], now: Now) -> Any:
        """The estimated outputs of the last block if all are skipped, from the inputs of the first one."""
        last = next(reversed(self.members.values()))
        assert last is not None
        bases = {slot: inputs[slot] for slot in self._exits().values()}
        return last.through(self._estimates(bases, now))

    def _exits(self) -> dict[int, Slot]:
        """The streams that leave the last block, by their positions among its outputs."""
        last = next(reversed(self.members.values()))
        assert last is not None
        return {position: slot for position, slot in enumerate(last.slots) if slot is not None}
