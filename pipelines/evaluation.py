"""One call of a model during a run: the gate's decision, and what is kept of it."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from skipstone.cachers.base import Cacher, Probe, Reason, Step
from skipstone.pipelines.modes import Computing, Learning, Mode, Skipping
from skipstone.pipelines.probes import modulated_input
from skipstone.pipelines.snapshots import Residual, Snapshots
from skipstone.pipelines.streams import Call, NotUnderstoodError
from skipstone.pipelines.trace import Entry, Place, Trace

StateT = TypeVar("StateT")


@dataclass
class Branch(Generic[StateT]):
    """What one guidance branch of one model remembers within a run.

    Args:
        method: the method's own state.
        snapshots: the residuals of computed steps.
        trace: how the model runs its blocks, once seen.
        writes_in_place: whether blocks write into their inputs.
        problem: why this branch cannot be skipped at all.
    """

    method: StateT
    snapshots: Snapshots
    trace: Trace | None = None
    writes_in_place: bool = False
    problem: str | None = None

    @classmethod
    def new(cls, cacher: Cacher[StateT]) -> "Branch[StateT]":
        return cls(cacher.new_state(), Snapshots(cacher.history))


class Evaluation(Generic[StateT]):
    """Stands in for a model's blocks while it is called once.

    Args:
        cacher: the method.
        step: where the run is.
        branch: this branch's memory.
        probe: the method's probe where it is known before the model runs.
    """

    def __init__(
        self, cacher: Cacher[StateT], step: Step, branch: Branch[StateT], probe: Tensor | None = None
    ) -> None:
        self.step = step
        self.reason: Reason | None = Reason.NO_PROBE
        self._cacher = cacher
        self._branch = branch
        self._probe = probe
        self._calls = 0
        self._head: Entry | None = None
        self._mode: Mode = self._computing()

    @property
    def skipped(self) -> bool:
        return self.reason is None

    def call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model gets for ``block(*args, **kwargs)``."""
        call = Call(place, block, args, kwargs)
        position, self._calls = self._calls, self._calls + 1
        if position == 0 and self._cacher.head_blocks:
            self._head = Entry.of(call, [call.main_slot()], self._branch.writes_in_place)
        if position == self._cacher.head_blocks:
            self._decide(call)
        return self._mode.call(call)

    def finish(self) -> None:
        """Keep what a computed evaluation has shown. Not called for one that raised."""
        if self.skipped:
            return
        residuals = self._learned() if isinstance(self._mode, Learning) else self._computed()
        if residuals:
            self._branch.snapshots.push(self.step, residuals)
        self._cacher.update(self._probe, self.step, self._branch.method)

    def _computing(self) -> Mode:
        if self._branch.trace is None:
            return Learning(self._cacher.head_blocks)
        return Computing(self._branch.trace, self._branch.writes_in_place)

    def _decide(self, call: Call) -> None:
        self._probe = self._read_probe(call)
        self.reason = self._cacher.reason_to_compute(self._probe, self.step, self._branch.method)
        snapshots, trace = self._branch.snapshots, self._branch.trace
        if self._branch.problem is not None:
            self.reason = Reason.NOT_UNDERSTOOD
        elif self.reason is None and (trace is None or not len(snapshots)):
            self.reason = Reason.NO_SNAPSHOT
        if self.reason is None and trace is not None:
            weights = self._cacher.weights(self.step, snapshots.steps, self._branch.method)
            self._mode = Skipping(trace, snapshots, weights, self._calls - 1)

    def _read_probe(self, call: Call) -> Tensor | None:
        match self._cacher.probe:
            case Probe.MODULATED_INPUT:
                return modulated_input(call)
            case Probe.FIRST_BLOCK:
                return self._head_residual(call)
            case _:
                return self._probe

    def _head_residual(self, call: Call) -> Tensor | None:
        assert self._head is not None
        before, after = next(iter(self._head.tensors.values())), call.main()
        if not self._head.intact:
            self._branch.writes_in_place = True
            return None
        return after - before if before.shape == after.shape else None

    def _learned(self) -> list[Residual] | None:
        assert isinstance(self._mode, Learning)
        try:
            self._branch.trace, residuals = self._mode.learned()
        except NotUnderstoodError as problem:
            self._branch.problem = str(problem)
            return None
        if not self._branch.trace.segments:
            self._branch.problem = "the model has no block that could be skipped"
        self._branch.writes_in_place |= residuals is None
        return residuals

    def _computed(self) -> list[Residual] | None:
        assert isinstance(self._mode, Computing)
        self._branch.writes_in_place |= not self._mode.intact
        residuals = self._mode.residuals()
        if residuals is None and self._mode.intact:
            self._branch.trace, self.reason = None, Reason.BLOCKS_CHANGED
            self._branch.snapshots.clear()
        return residuals
