"""The memory of one layer within a run, and its estimates when the layer is skipped."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Layer, Outcome, Reason
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.memory.snapshots import Residual, Snapshots, main_residual
from skipstone.pipelines.memory.storage import Storage
from skipstone.pipelines.model.calls import Call, Slot
from skipstone.pipelines.model.outputs import floats_in, hollow, refilled


def reason_to_compute(cacher: Cacher[Any], now: Now, state: Any, snapshots: Snapshots) -> str | None:
    """The method's decision, but compute if there is nothing to reuse."""
    reason = cacher.reason_to_compute(now.probe, now.step, state)
    if reason is not None and not (isinstance(reason, str) and reason):
        raise TypeError(
            f"{cacher.name} gave {reason!r} as its reason to compute a step; give words, or None to skip it"
        )
    return Reason.NO_SNAPSHOT if reason is None and not len(snapshots) else reason


class LayerMemory:
    """The memory of one layer in one branch: its outputs on computed steps.

    Args:
        layer: the layer's place and kind.
        cacher: the method of this layer; None if it always runs.
        storage: the form of the kept outputs.

    ``problem`` is a note on why it always runs.

    A call may compute only one half of the batch. It then reuses that half of a kept whole output. A whole
    output cannot be made from kept halves.
    """

    def __init__(self, layer: Layer, cacher: Cacher[Any] | None, storage: Storage) -> None:
        self.layer = layer
        self.cacher = cacher
        self.problem: str | None = None
        self.snapshots = Snapshots(0 if cacher is None else cacher.history, storage)
        self._state = None if cacher is None else cacher.new_state()
        self._halves: deque[bool] = deque(maxlen=0 if cacher is None else cacher.history)
        self._hollow: Any = None

    def reason_to_compute(self, now: Now) -> str | None:
        """Why the layer runs; None to skip it."""
        assert self.cacher is not None
        reason = reason_to_compute(self.cacher, now, self._state, self.snapshots)
        return Reason.NO_SNAPSHOT if reason is None and now.half is None and any(self._halves) else reason

    def forget(self) -> None:
        """Drop what could be reused."""
        self.snapshots.clear()
        self._halves.clear()

    def keep(self, call: Call, now: Now) -> None:
        """Learn from a finished call."""
        self._hollow = hollow(call.outputs)
        # Clones, because the model may write into its outputs.
        self._keep(dict(enumerate(t.detach().clone() for t in floats_in(call.outputs))), now)

    def estimate(self, now: Now) -> Any:
        """The layer's estimated output."""
        zeros = floats_in(self._hollow)
        half = now.half
        is_whole = half is not None and not self._halves[0]
        bases: dict[Slot, Tensor] = dict(enumerate(map(half.of, zeros) if half and is_whole else zeros))
        return refilled(self._hollow, self._estimates(bases, now).values())

    def _keep(self, values: Residual | None, now: Now) -> None:
        assert self.cacher is not None
        if values:
            self.snapshots.push(now.step, [values])
            self.snapshots.convert()
            self._halves.appendleft(now.half is not None)
        residual = main_residual([values] if values else None)
        self.cacher.update(now.probe, Outcome(residual), now.step, self._state)

    def _estimates(self, bases: Mapping[Slot, Tensor], now: Now) -> dict[Slot, Tensor]:
        assert self.cacher is not None
        weights = self.cacher.weights(now.step, self.snapshots.steps, self._state)
        correct = self.cacher.correction(self._state)
        if correct is None:
            estimate = self.snapshots.estimate
            return {slot: estimate(0, slot, base, weights, now.half) for slot, base in bases.items()}
        corrected = {}
        for stream, (slot, base) in enumerate(bases.items()):
            residual = self.snapshots.estimate(0, slot, torch.zeros_like(base), weights, now.half)
            corrected[slot] = correct(residual, base, stream)
        return corrected
