"""Walk through a model's blocks in ranges that are computed or skipped as one."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Layer, LayerKind
from skipstone.pipelines.evaluations.base import Branch
from skipstone.pipelines.memory.block_range import BlockMemory
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.model.calls import Call, Slot, links
from skipstone.pipelines.model.layers import Found
from skipstone.pipelines.model.trace import Entry


@dataclass
class Passage:
    """The walk through one range.

    Args:
        memory: the range's memory.
        inputs: the inputs of its first block.
        reason: why it is computed; None if it is skipped.
        position: how many of its blocks were called.
        member: the last one of these.
        last: that block's finished call, and ``outputs`` its outputs, if it was computed.
    """

    memory: BlockMemory
    inputs: Entry
    reason: str | None
    position: int = 0
    member: Hashable = None
    last: Call | None = None
    outputs: Entry | None = None


class BlockWalk:
    """Stand in for single blocks in one evaluation.

    Args:
        cacher: the method.
        now: where the evaluation stands.
        branch: the branch's memory.
        decide: returns and notes why a range is computed; None to skip it.
    """

    def __init__(
        self,
        cacher: Cacher[Any],
        now: Now,
        branch: Branch[Any],
        decide: Callable[[BlockMemory], str | None],
    ) -> None:
        self._cacher = cacher
        self._now = now
        self._branch = branch
        self._decide = decide
        self._open: dict[str, Passage] = {}
        self._hints: dict[str, dict[int, Slot]] = {}
        self._newest: Hashable = None

    def call(self, found: Found, member: Hashable, call: Call, run: Any) -> tuple[Any, bool | None]:
        """The outputs of a block for the model, and whether it was skipped; None if it always runs."""
        passage = self._open.get(found.in_list)
        if passage is not None:
            self._learn(found.in_list, passage, call)
        memory = self._memory(found, member, passage)
        if passage is not None and passage.memory is not memory:
            self._close(found.in_list)
            passage = None
        if memory.cacher is None:
            return run(*call.args, **call.kwargs), None
        if passage is None:
            inputs = Entry.of(call, copy=memory.writes_in_place)
            passage = self._open[found.in_list] = Passage(memory, inputs, self._decide(memory))
        outputs = self._passed(passage, member, call, run)
        if found.is_last or memory.ends_with(member):
            self._close(found.in_list)
        return outputs, passage.reason is None

    def finish(self) -> None:
        """End the walk, after all blocks were called."""
        for in_list in list(self._open):
            self._close(in_list)

    def _memory(self, found: Found, member: Hashable, passage: Passage | None) -> BlockMemory:
        known = self._branch.layers.get(member)
        if isinstance(known, BlockMemory):
            return known
        layer = Layer(LayerKind.BLOCK, found.name, found.block, found.blocks)
        cacher = self._cacher.for_layer(layer)
        if passage is not None and self._joins(cacher, passage):
            memory = passage.memory
        else:
            memory = BlockMemory(layer, cacher, self._branch.storage)
        memory.members[member] = None
        self._branch.layers[member] = memory
        return memory

    def _joins(self, cacher: Cacher[Any] | None, passage: Passage) -> bool:
        """Whether a block with this method continues a range: no block of another list came between."""
        is_alike = cacher is not None and cacher.joins_blocks and cacher == passage.memory.cacher
        return is_alike and not passage.memory.is_complete and passage.member == self._newest

    def _passed(self, passage: Passage, member: Hashable, call: Call, run: Any) -> Any:
        memory, position = passage.memory, passage.position
        passage.position, passage.member = position + 1, member
        self._newest = member
        if passage.reason is not None:
            outputs = run(*call.args, **call.kwargs)
            passage.last = replace(call, outputs=outputs)
            passage.outputs = Entry.holding(passage.last.output_tensors())
            return outputs
        if not memory.is_at(position, member):
            raise RuntimeError(
                f"{type(call.block).__name__} was called out of the order learned on an earlier step, in a "
                "step on which it is skipped; skipstone cannot cache a model that changes its blocks mid-run"
            )
        if memory.ends_with(member):
            return memory.estimate_from(passage.inputs.tensors, self._now)
        return memory.through(member, call)

    def _learn(self, in_list: str, passage: Passage, after: Call | None) -> None:
        """Find the streams of the newest block, now that the next block shows what it takes."""
        last, hints = passage.last, self._hints.setdefault(in_list, {})
        if last is None:
            return
        taken = {} if after is None else links(last, after)
        hints.update({position: slot for position, slot in taken.items() if last.continues(position, slot)})
        if passage.memory.members[passage.member] is None:
            passage.memory.learn(passage.member, last, hints)

    def _close(self, in_list: str) -> None:
        """Keep the residual of a range."""
        passage = self._open.pop(in_list)
        self._learn(in_list, passage, None)
        memory, last = passage.memory, passage.last
        memory.is_complete = True
        if memory.cacher is None or last is None or passage.outputs is None:
            return
        if passage.position != len(memory.members):
            memory.snapshots.clear()
        elif passage.inputs.intact and passage.outputs.intact:
            memory.keep_added(passage.inputs.tensors, last, self._now)
        else:
            memory.keep_nothing(self._now)
