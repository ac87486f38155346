"""Skipping layers one by one while the rest of the model runs."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

from skipstone.cachers.contract.words import Layer, LayerKind, Reason
from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.evaluations.block_walk import BlockWalk
from skipstone.pipelines.memory.layer import LayerMemory
from skipstone.pipelines.model.calls import Call
from skipstone.pipelines.model.layers import Found, kind_when_called
from skipstone.pipelines.model.trace import Place

StateT = TypeVar("StateT")


class LayerEvaluation(Evaluation[StateT]):
    """Stand in for the layers that a method works on; each has its own memory and decision."""

    def _set_up(self) -> None:
        self._reasons: list[str] = []
        self._calls: Counter[Place] = Counter()
        self._walk = BlockWalk(self.method, self.now, self.branch, self._decide_on)

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        found = self.branch.placement.layers[place[0]]
        call = Call(place, found.module, args, kwargs)
        key = place, self._calls[place]
        self._calls[place] += 1
        if found.kind is LayerKind.BLOCK:
            return self._at_block(found, key, call, block)
        memory = self.branch.layers.get(key)
        if memory is not None and memory.cacher is None:
            return block(*args, **kwargs)
        if memory is not None and self._skips(memory):
            return memory.estimate(self.now)
        finished = replace(call, outputs=block(*args, **kwargs))
        if memory is None:
            memory = self.branch.layers[key] = self._new_memory(found, finished)
        if memory.cacher is not None:
            memory.keep(finished, self.now)
        return finished.outputs

    def finish(self, output: Any, latents: Tensor | None) -> None:
        self._walk.finish()
        if not self.parts:
            self.branch.problem = f"it called no layer that {self.method.name} skips"
        elif any(skipped for _, skipped in self.parts):
            self.reason = Reason.IN_PART
        else:
            self.reason = self._reasons[0]

    def _at_block(self, found: Found, key: Hashable, call: Call, block: Any) -> Any:
        outputs, skipped = self._walk.call(found, key, call, block)
        if skipped is not None:
            self.parts[LayerKind.BLOCK.value, skipped] += 1
        return outputs

    def _decide_on(self, memory: LayerMemory) -> str | None:
        reason = memory.reason_to_compute(self.now)
        if reason is not None:
            self._reasons.append(self.branch.why_empty if reason is Reason.NO_SNAPSHOT else reason)
        return reason

    def _skips(self, memory: LayerMemory) -> bool:
        skipped = self._decide_on(memory) is None
        self.parts[memory.layer.kind.value, skipped] += 1
        return skipped

    def _new_memory(self, found: Found, call: Call) -> LayerMemory:
        kind = kind_when_called(found, call.args, call.kwargs, call.outputs)
        layer = Layer(kind, found.name, found.block, found.blocks)
        memory = LayerMemory(layer, self.method.for_layer(layer), self.branch.storage)
        if memory.cacher is not None:
            self._skips(memory)
        return memory
