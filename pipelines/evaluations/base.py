"""One call of a model during a run: the method's decision, and what is kept of the call."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import LayerKind, Outcome, Probe, Reason, Weights
from skipstone.pipelines.evaluations.sites import EARLY, Placement
from skipstone.pipelines.memory.layer import LayerMemory, reason_to_compute
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.memory.shared_coordinates import SharedCoordinates
from skipstone.pipelines.memory.snapshots import Snapshots
from skipstone.pipelines.memory.storage import AS_COMPUTED, Storage
from skipstone.pipelines.model.calls import Slot
from skipstone.pipelines.model.grids import Grid
from skipstone.pipelines.model.trace import Place, Trace
from skipstone.pipelines.run.ranks import any_rank

StateT = TypeVar("StateT")


class Branch(Generic[StateT]):
    """The memory of one guidance branch of one model within a run.

    Args:
        name: the branch.
        layout: the shapes of the model's inputs.
        cacher: the method.
        placement: where the method works.
        storage: the form in which residuals are kept.
        group: the processes that hold the streams' tokens; None for this one alone.

    What is learned while it lives:
        state: the method's own.
        why_empty: why there is nothing to reuse at first.
        trace: how the model runs its blocks, once seen.
        layers: what each call of a layer remembers, once seen.
        hollows: the structure of what each part at the site gives, once seen.
        writes_in_place: whether streams are written into on their way.
        checked: whether skipping was tried with these shapes.
        watched: the block whose attention the method watches.
        watched_slot: where that takes its main stream.
        grid: how that stream's tokens are laid out.
        coordinates: those that a method reads which asks for no more.
        skips_before_stack: whether the blocks before the stack are left out where that is skipped.
        problem: why this branch cannot be skipped at all.
    """

    def __init__(
        self,
        name: str,
        layout: Hashable,
        cacher: Cacher[StateT],
        placement: Placement,
        storage: Storage = AS_COMPUTED,
        group: Any = None,
    ) -> None:
        self.name = name
        self.layout = layout
        self.placement = placement
        self.state = cacher.new_state()
        self.storage = storage
        # One at least: whether skipping is right is tried with a computed step's own residual.
        self.snapshots = Snapshots(max(1, cacher.history), storage)
        self.coordinates = None if cacher.coordinates is None else _coordinates(cacher.coordinates, group)
        self.why_empty = Reason.NO_SNAPSHOT
        self.trace: Trace | None = None
        self.layers: dict[Hashable, LayerMemory] = {}
        self.hollows: dict[Place, Any] = {}
        self.writes_in_place = False
        self.checked = False
        self.watched: Place | None = None
        self.watched_slot: Slot = 0
        self.grid: Grid | None = None
        self.skips_before_stack = False
        self.problem: str | None = None
        self._layer_kinds = cacher.layer_kinds - {LayerKind.TEMPORAL_ATTENTION}

    def forget(self, why: Reason) -> None:
        """Drop what could be reused, so that the next step is computed, for this reason."""
        self.why_empty = why
        self.snapshots.clear()
        for memory in dict.fromkeys(self.layers.values()):
            memory.forget()

    @property
    def is_cut_off(self) -> bool:
        """Whether what it had was dropped in the run, or another one was in its place."""
        return not len(self.snapshots) and self.why_empty is not Reason.NO_SNAPSHOT

    @property
    def nbytes(self) -> int:
        """Bytes held for reuse."""
        # Blocks in a row may share a memory.
        layers = dict.fromkeys(self.layers.values())
        return self.snapshots.nbytes + sum(memory.snapshots.nbytes for memory in layers)

    @property
    def decides_before_blocks(self) -> bool:
        """Whether the method can decide before the blocks before the stack are called."""
        if self.trace is None or not self.trace.head:
            return False
        probe, before_stack = self.placement.probe, self.trace.before_stack
        return probe in EARLY or (probe is Probe.MODULATED_INPUT and before_stack.foretold is not None)

    @property
    def remarks(self) -> list[str]:
        """What a user should know of this branch."""
        known = () if self.trace is None else self.trace.remarks
        untraced = () if self.trace is None or self.skips_before_stack else self.trace.before_stack.remarks
        layers = [memory.problem for memory in self.layers.values()]
        found = (self.problem, self.placement.remark, *untraced, *known, *layers, *self._missing())
        return [remark for remark in dict.fromkeys(found) if remark is not None]

    def _missing(self) -> list[str]:
        """The kinds of layers that the method would skip, but that this model does not have."""
        seen = {memory.layer.kind for memory in self.layers.values()}
        missing = sorted(self._layer_kinds - seen) if seen else []
        return [f"it has no {kind.value}, so none of that is skipped" for kind in missing]


def _coordinates(count: int, group: Any) -> Coordinates:
    return Coordinates(count) if group is None else SharedCoordinates(count, group)


CPU = torch.device("cpu")


class Evaluation(Generic[StateT]):
    """Stand between a pipeline and its model during one call. This one computes everything.

    Args:
        method: the run's method.
        now: where the evaluation stands.
        branch: this branch's memory.
        group: the processes that must decide alike, None where there is only this one.
        device: where the model's inputs are.

    ``parts`` counts the calls of parts that are skipped on their own, by what they are and whether they were.
    ``foreseen`` tells whether the decision fell before the model runs, ``replayed`` whether it was skipped by
    a graph.
    """

    def __init__(
        self,
        method: Cacher[StateT],
        now: Now,
        branch: Branch[StateT],
        group: Any = None,
        device: torch.device = CPU,
    ) -> None:
        self.method = method
        self.now = now
        self.branch = branch
        self.reason: str | None = Reason.NOT_UNDERSTOOD
        self._group = group
        self._device = device
        self.parts: Counter[tuple[str, bool]] = Counter()
        self.foreseen = False
        self.replayed = False
        self._set_up()

    def _set_up(self) -> None:
        """Begin what a kind of evaluation keeps of its own."""

    @property
    def skipped(self) -> bool:
        return self.reason is None

    def begin(self) -> Any:
        """What the pipeline gets without running the model; None to run it."""
        return None

    def prepare(self, run: Callable[[], Any]) -> bool:
        """Decide before a compiled model runs: it must not be looked into then.

        Args:
            run: runs the model as it is written.

        Returns:
            Whether that was possible; if not, this evaluation must see the model run as it is written.
        """
        del run
        return True

    def call(self, place: Place, block: Any, args: Any, kwargs: Any) -> Any:
        """What the model gets for ``block(*args, **kwargs)``."""
        del place
        return block(*args, **kwargs)

    def attended(self, output: Any) -> None:
        """Take note of what an attention of the watched block has returned in a compiled model."""

    def finish(self, output: Any, latents: Tensor | None) -> None:
        """Keep what a computed evaluation has shown. Not called for one that raised.

        Args:
            output: what the model returned.
            latents: the latents in it.

        Raises:
            NotUnderstoodError: nothing can be estimated at this site.
        """

    def _decide(self, probe: Tensor | None) -> None:
        if probe is not self.now.probe:
            self.now = replace(self.now, probe=probe)
        self.reason = reason_to_compute(self.method, self.now, self.branch.state, self.branch.snapshots)
        if self.reason is None:
            return
        # A step that the method asks for is no less apart from those before it.
        was_cut_off = self.branch.is_cut_off and not self.now.step.is_first
        if self.reason is Reason.NO_SNAPSHOT or was_cut_off:
            self.reason = self.branch.why_empty

    def _decide_early(self) -> None:
        """Decide by a probe that is known before the model runs."""
        self._decide(self.now.probe)
        self._agree()

    def _agree(self) -> None:
        """Compute where another process does: the worst part decides for all.

        All processes ask, whatever they decided.
        """
        if self._group is None or decides_alike(self.method, self.branch.state):
            return
        if any_rank(self._group, not self.skipped, self._device) and self.skipped:
            self.reason = Reason.OTHER_RANK

    def _tell(self, outcome: Outcome) -> None:
        """Let the method learn what a computed step gave."""
        self.method.update(self.now.probe, outcome, self.now.step, self.branch.state)

    @cached_property
    def weights(self) -> Weights:
        """The predictor's weights for a skipped step."""
        branch = self.branch
        return self.method.weights(self.now.step, branch.snapshots.steps, branch.state)


def decides_alike(method: Cacher[Any], state: Any) -> bool:
    """Whether every process decides the same: by the step and the time, without remembering anything."""
    return state is None and not method.probe.sees_the_sample


class GivenEvaluation(Evaluation[StateT]):
    """Return an output that is known without the model.

    Args:
        output: what the pipeline gets.
    """

    def __init__(self, method: Cacher[StateT], now: Now, branch: Branch[StateT], output: Any) -> None:
        super().__init__(method, now, branch)
        self.reason = None
        self._output = output

    def begin(self) -> Any:
        return self._output
