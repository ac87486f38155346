"""One call of a model during a run: the gate's decision, and what is kept of it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from skipstone.cachers.base import Cacher, Outcome, Probe, Reason, Step
from skipstone.pipelines.modes import Computing, Learning, Mode, Skipping
from skipstone.pipelines.probes import OF_THE_TIME, modulated_input
from skipstone.pipelines.ranks import any_rank
from skipstone.pipelines.snapshots import Residual, Snapshots, main_residual
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
        writes_in_place: whether streams are written into on their way.
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

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of this branch."""
        known = () if self.trace is None else self.trace.remarks
        return known if self.problem is None else (self.problem, *known)


class Evaluation(Generic[StateT]):
    """Stands in for a model's blocks while it is called once.

    Args:
        cacher: the method.
        step: where the run is.
        branch: this branch's memory.
        probe: the method's probe where it is known before the model runs.
        group: the processes that must decide alike, None where there is only this one.
    """

    def __init__(
        self,
        cacher: Cacher[StateT],
        step: Step,
        branch: Branch[StateT],
        probe: Tensor | None = None,
        group: Any = None,
    ) -> None:
        self.step = step
        self.reason: Reason | None = Reason.NO_PROBE
        self._cacher = cacher
        self._branch = branch
        self._probe = probe
        self._group = group
        self._calls = 0
        self._calls_of: Counter[int] = Counter()
        self._heads: dict[int, Entry] = {}
        self._probes: dict[int, Tensor | None] = {}
        self._mode: Mode = self._computing()

    @property
    def skipped(self) -> bool:
        return self.reason is None

    def call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the model gets for ``block(*args, **kwargs)``."""
        call = Call(place, block, args, kwargs)
        if not call.tensors():
            return call.run()
        self._look(call)
        self._calls += 1
        return self._mode.call(call)

    def finish(self, output: Tensor | None) -> None:
        """Keep what a computed evaluation has shown. Not called for one that raised."""
        if self.skipped:
            return
        residuals = self._learned() if isinstance(self._mode, Learning) else self._computed()
        if residuals:
            self._branch.snapshots.push(self.step, residuals)
        outcome = Outcome(main_residual(residuals), output)
        self._cacher.update(self._probe, outcome, self.step, self._branch.method)

    def _computing(self) -> Mode:
        if self._branch.trace is None:
            return Learning(self._cacher.head_blocks)
        return Computing(self._branch.trace, self._branch.writes_in_place)

    def _look(self, call: Call) -> None:
        """Read the probe where the head of the stack ends: in every list until one is known to lead."""
        number, trace = self._calls_of[call.list_index], self._branch.trace
        self._calls_of[call.list_index] += 1
        if number == 0 and self._cacher.head_blocks:
            self._heads[call.list_index] = Entry.of(call, [call.main_slot()], self._branch.writes_in_place)
        if trace is None and number == self._cacher.head_blocks:
            self._probes[self._calls] = self._read_probe(call)
        elif trace is not None and self._calls == trace.start and trace.has(self._calls, call.place):
            self._decide(self._read_probe(call))
            if self._overruled(call.main()):
                self.reason = Reason.OTHER_RANK
            if self.reason is None:
                self._mode = self._skipping(trace)

    def _decide(self, probe: Tensor | None) -> None:
        self._probe = probe
        self.reason = self._cacher.reason_to_compute(self._probe, self.step, self._branch.method)
        snapshots, trace = self._branch.snapshots, self._branch.trace
        if self._branch.problem is not None:
            self.reason = Reason.NOT_UNDERSTOOD
        elif self.reason is None and (trace is None or not len(snapshots)):
            self.reason = Reason.NO_SNAPSHOT

    def _overruled(self, like: Tensor) -> bool:
        """Whether another process computes what this one would skip: the worst part decides for all.

        All processes ask, whatever they decided. Gates that look at no tensor of the sample decide alike.
        """
        if self._group is None or self._cacher.probe in (Probe.NONE, *OF_THE_TIME):
            return False
        return any_rank(self._group, not self.skipped, like) and self.skipped

    def _skipping(self, trace: Trace) -> Mode:
        snapshots, copy = self._branch.snapshots, self._branch.writes_in_place
        weights = self._cacher.weights(self.step, snapshots.steps, self._branch.method)
        return Skipping(trace, snapshots, weights, self._calls, copy)

    def _read_probe(self, call: Call) -> Tensor | None:
        match self._cacher.probe:
            case Probe.MODULATED_INPUT:
                return modulated_input(call)
            case Probe.FIRST_BLOCK:
                states = self._head_states(call)
                return None if states is None else states[1] - states[0]
            case Probe.HEAD_STATES:
                states = self._head_states(call)
                return None if states is None else torch.stack(states)
            case _:
                return self._probe

    def _head_states(self, call: Call) -> tuple[Tensor, Tensor] | None:
        """What entered the stack and what left its head blocks."""
        head = self._heads[call.list_index]
        before, after = next(iter(head.tensors.values())), call.main()
        if not head.intact:
            self._branch.writes_in_place = True
            return None
        return (before, after) if before.shape == after.shape else None

    def _learned(self) -> list[Residual] | None:
        assert isinstance(self._mode, Learning)
        try:
            self._branch.trace, residuals = self._mode.learned()
        except NotUnderstoodError as problem:
            self._branch.problem, self.reason = str(problem), Reason.NOT_UNDERSTOOD
            return None
        if self._branch.trace.start is None:
            self._branch.problem = "the model has no block that could be skipped"
        self._decide(self._probes.get(self._branch.trace.start or 0))
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
