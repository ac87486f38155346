"""Skipping layers one by one while the rest of the model runs."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from skipstone.cachers.base import Layer, LayerKind, Reason
from skipstone.pipelines.evaluation import Evaluation
from skipstone.pipelines.layer_memory import BlockMemory, LayerMemory
from skipstone.pipelines.layers import Found, kind_when_called
from skipstone.pipelines.streams import Call, Slot, links
from skipstone.pipelines.trace import Entry, Place

StateT = TypeVar("StateT")


@dataclass
class BlockCall:
    """A finished call of a block, with what entered and what left it."""

    memory: BlockMemory
    call: Call
    inputs: Entry
    outputs: Entry


class LayerEvaluation(Evaluation[StateT]):
    """Stands in for the layers that a method works on, each with a memory and a decision of its own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._reasons: list[Reason] = []
        self._calls: Counter[Place] = Counter()
        self._open: dict[str, BlockCall] = {}
        self._hints: dict[str, dict[int, Slot]] = {}

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        found = self.branch.placement.layers[place[0]]
        call = Call(place, found.module, args, kwargs)
        if found.in_list in self._open and found.kind is LayerKind.BLOCK:
            self._close(found.in_list, call)
        key = place, self._calls[place]
        self._calls[place] += 1
        memory = self.branch.layers.get(key)
        if memory is not None and memory.cacher is None:
            return block(*args, **kwargs)
        if memory is not None and self._skips(memory):
            return memory.estimate(call, self.step, self.half)
        inputs = self._inputs(found, memory, call)
        outputs = block(*args, **kwargs)
        finished = replace(call, outputs=outputs)
        if memory is None:
            memory = self.branch.layers[key] = self._new_memory(found, finished)
        self._keep(found, memory, finished, inputs)
        return outputs

    def finish(self, output: Any, latents: Tensor | None) -> None:
        for in_list in list(self._open):
            self._close(in_list)
        if not self.parts:
            self.branch.problem = f"it called no layer that {self._cacher.name} skips"
        elif any(skipped for _, skipped in self.parts):
            self.reason = Reason.IN_PART
        else:
            self.reason = self._reasons[0]

    def _skips(self, memory: LayerMemory) -> bool:
        reason = memory.reason_to_compute(self._probe, self.step, self.half)
        if reason is not None:
            self._reasons.append(self.branch.why_empty if reason is Reason.NO_SNAPSHOT else reason)
        self.parts[memory.layer.kind.value, reason is None] += 1
        return reason is None

    def _new_memory(self, found: Found, call: Call) -> LayerMemory:
        kind = kind_when_called(found, call.args, call.kwargs, call.outputs)
        layer = Layer(kind, found.name, found.block, found.blocks)
        make = BlockMemory if kind is LayerKind.BLOCK else LayerMemory
        memory = make(layer, self._cacher.for_layer(layer), self.branch.device)
        if memory.cacher is not None:
            self._skips(memory)
        return memory

    def _inputs(self, found: Found, memory: LayerMemory | None, call: Call) -> Entry:
        """What a block is given, as it is before it runs; a layer's inputs are not needed."""
        if found.kind is not LayerKind.BLOCK:
            return Entry.holding({})
        return Entry.of(call, copy=isinstance(memory, BlockMemory) and memory.writes_in_place)

    def _keep(self, found: Found, memory: LayerMemory, call: Call, inputs: Entry) -> None:
        if memory.cacher is None:
            return
        if not isinstance(memory, BlockMemory):
            memory.keep(call, self._probe, self.step, self.half)
            return
        finished = BlockCall(memory, call, inputs, Entry.holding(call.output_tensors()))
        self._open[found.in_list] = finished
        if memory.passes is not None or found.is_last:
            self._close(found.in_list)

    def _close(self, in_list: str, after: Call | None = None) -> None:
        """Keep what the open block of a list has added, now that the next one shows what it took."""
        block = self._open.pop(in_list)
        memory, call = block.memory, block.call
        hints = self._hints.setdefault(in_list, {})
        taken = {} if after is None else links(call, after)
        hints.update({position: slot for position, slot in taken.items() if call.continues(position, slot)})
        if memory.passes is None:
            memory.learn(call, hints)
        if memory.cacher is None:
            return
        if block.inputs.intact and block.outputs.intact:
            memory.keep_added(block.inputs.tensors, call, self._probe, self.step, self.half)
        else:
            memory.keep_nothing(self._probe, self.step)
