"""Estimate a transformer's whole stack of blocks."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Outcome, Probe, Reason, Weights
from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.evaluations.modes import Computing, Learning, Mode, Passing, Skipping
from skipstone.pipelines.evaluations.sites import EARLY
from skipstone.pipelines.memory.snapshots import Residual, Snapshots, main_residual
from skipstone.pipelines.model.attention import WatchedCall, note_attention
from skipstone.pipelines.model.calls import Call, NotUnderstoodError
from skipstone.pipelines.model.probes import modulated_input
from skipstone.pipelines.model.trace import Entry, Place, Trace

StateT = TypeVar("StateT")


class StackEvaluation(Evaluation[StateT]):
    """Stand in for a model's blocks."""

    def _set_up(self) -> None:
        self.reason = Reason.NO_PROBE
        self._calls = 0
        self._heads: dict[int, Entry] = {}
        self._probes: dict[int, Tensor | None] = {}
        known = self.branch.checked and self.branch.trace is not None
        self._samples = self._takes_elements = known and self.branch.coordinates is not None
        self._attention: list[Tensor] = []
        self._watched: Tensor | None = None
        self._ready = False
        self._mode: Mode = self._computing()
        self._scouting = False

    def begin(self) -> Any:
        if self.branch.trace is None or self.branch.placement.probe not in EARLY:
            return None
        self._decide_early()
        self.foreseen = True
        if self.skipped:
            self.skip()
        return None

    def prepare(self, run: Callable[[], Any]) -> bool:
        if self.branch.trace is None:
            return False
        if not self.foreseen:
            self._scouting = True
            run()
        self._ready = True
        # On the way, a compiled model would need one more graph for that.
        self._takes_elements = False
        if self.skipped:
            # As one residual: weights are plain numbers, and other numbers would need another graph.
            self.skip_by(self.branch.snapshots.combined(self.weights, self._device))
        else:
            self._mode = self._computing()
        return True

    def skip(self) -> None:
        """Skip with the kept residuals, from the first block on."""
        self._mode = self._skipping(self.branch.snapshots, self.weights, 0)

    def skip_by(self, sums: Snapshots) -> None:
        """Skip with one residual for each segment, from the first block on."""
        self._mode = self._skipping(sums, (1.0,), 0)

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(self._mode, Skipping):
            return self._mode.at(place, block, args, kwargs)
        call = Call(place, block, args, kwargs)
        if not call.tensors():
            return call.run()
        if not self._ready:
            if place == self.branch.watched:
                call = WatchedCall(place, block, args, kwargs, seen=self._attention)
                self.branch.watched_slot = call.main_slot()
            self._look(call)
            self._calls += 1
        elif place == self.branch.watched:
            self._watched = call.tensors()[self.branch.watched_slot]
        return self._mode.call(call)

    def attended(self, output: Any) -> None:
        if self._ready and self._watched is not None:
            note_attention(output, self._watched, self._attention)

    def finish(self, output: Any, latents: Tensor | None) -> None:
        if self.skipped:
            return
        residuals = self._learned() if isinstance(self._mode, Learning) else self._computed()
        if residuals and self._ready:
            # A CUDA graph overwrites its former output.
            residuals = [{slot: tensor.clone() for slot, tensor in one.items()} for one in residuals]
            latents = None if latents is None else latents.clone()
        if residuals and not self._samples:
            self.branch.snapshots.push(self.now.step, residuals)
        shown = self._asked_for(main_residual(residuals))
        self._tell(Outcome(shown, latents, self._attended(), self.branch.name))

    def _attended(self) -> Tensor | None:
        """The output of the watched block's attention, ``(batch, frames, positions, dim)``."""
        if not self._attention or self.branch.grid is None:
            return None
        return self.branch.grid.framed(self._attention[0])

    def _computing(self) -> Mode:
        if self.branch.trace is None:
            return Learning(self.method.head_blocks, self.method.tail_blocks)
        coordinates = self.branch.coordinates if self._takes_elements else None
        return Computing(self.branch.trace, self.branch.writes_in_place, coordinates)

    def _asked_for(self, residual: Tensor | None) -> Tensor | None:
        """The elements of a residual that the method asks for."""
        coordinates = self.branch.coordinates
        if residual is None or coordinates is None or self._takes_elements:
            return residual
        return coordinates.of(residual)

    def _skipping(self, snapshots: Snapshots, weights: Weights, position: int) -> Skipping:
        branch, trace = self.branch, self.branch.trace
        assert trace is not None
        in_place, before = branch.writes_in_place, branch.skips_before_stack
        return Skipping(trace, snapshots, weights, position, in_place, before)

    def _look(self, call: Call) -> None:
        """Read the probe at the end of the stack's head; of every chain until the first one is known."""
        trace, heads = self.branch.trace, self.method.head_blocks
        if isinstance(self._mode, Learning):
            number = self._mode.place_in_chain(call)
            self._look_at_head(call, number == 0)
            if number == heads:
                self._probes[self._calls] = self._read_probe(call)
        elif trace is not None and trace.has(self._calls, call.place):
            self._look_at_head(call, self._calls == trace.head)
            if self._calls == self._turn(trace) and not self.foreseen:
                self._decide_at(call, trace)

    def _turn(self, trace: Trace) -> int | None:
        """The position of the call at which the method decides."""
        return 0 if self.branch.skips_before_stack else trace.start

    def _look_at_head(self, call: Call, begins: bool) -> None:
        if begins and self.method.head_blocks:
            self._heads[call.list_index] = Entry.of(call, [call.main_slot()], self.branch.writes_in_place)

    def _decide_at(self, call: Call, trace: Trace) -> None:
        foretold = trace.before_stack.foretold if self.branch.skips_before_stack else None
        self._decide(self._read_probe(call if foretold is None else foretold.by(call)))
        self._agree()
        if self._scouting:
            self._mode = Passing(trace, self._calls, self.branch.skips_before_stack)
        elif self.skipped:
            self._mode = self._skipping(self.branch.snapshots, self.weights, self._calls)

    def _read_probe(self, call: Call) -> Tensor | None:
        match self.branch.placement.probe:
            case Probe.MODULATED_INPUT:
                return self._modulated_input(call)
            case Probe.FIRST_BLOCK:
                states = self._head_states(call)
                return None if states is None else states[1] - states[0]
            case Probe.HEAD_STATES:
                states = self._head_states(call)
                return None if states is None else torch.stack(states)
            case _:
                return self.now.probe

    def _modulated_input(self, call: Call) -> Tensor | None:
        """Read it from copies as long as the blocks may write into their inputs."""
        if not self.branch.writes_in_place and self.branch.trace is not None:
            return modulated_input(call)
        copies = call.copied()
        probe = modulated_input(copies)
        pairs = zip(copies.tensors().values(), call.tensors().values(), strict=True)
        self.branch.writes_in_place |= not all(torch.equal(copy, given) for copy, given in pairs)
        return probe

    def _head_states(self, call: Call) -> tuple[Tensor, Tensor] | None:
        """The stack's input and its head blocks' output."""
        head = self._heads[call.list_index]
        before, after = next(iter(head.tensors.values())), call.main()
        if not head.intact:
            self.branch.writes_in_place = True
            return None
        return (before, after) if before.shape == after.shape else None

    def _learned(self) -> list[Residual] | None:
        assert isinstance(self._mode, Learning)
        trace, residuals = self._mode.learned()
        if trace.start is None:
            raise NotUnderstoodError("the model has no block that could be skipped")
        self.branch.trace = trace
        self.branch.skips_before_stack &= self.branch.decides_before_blocks
        self._decide(self._probes.get(trace.start))
        self.branch.writes_in_place |= residuals is None
        return residuals

    def _computed(self) -> list[Residual] | None:
        assert isinstance(self._mode, Computing)
        self.branch.writes_in_place |= not self._mode.intact
        residuals = self._mode.residuals()
        if residuals is None and self._mode.intact:
            self.branch.trace, self.reason = None, Reason.BLOCKS_CHANGED
            self.branch.snapshots.clear()
        return residuals


class Replay(Evaluation[StateT]):
    """Skip a step that was just computed, with the same input: the output shows whether skipping is right.

    Args:
        computed: the evaluation that was just finished.
    """

    def __init__(self, computed: Evaluation[StateT]) -> None:
        super().__init__(computed.method, computed.now, computed.branch)
        branch = self.branch
        assert branch.trace is not None
        newest = (1.0,) + (0.0,) * (len(branch.snapshots) - 1)
        self._mode = Skipping(
            branch.trace, branch.snapshots, newest, 0, branch.writes_in_place, branch.skips_before_stack
        )

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        return self._mode.at(place, block, args, kwargs)
