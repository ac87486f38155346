"""DiCache: the first blocks show when to compute, and how far the residual has moved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import Outcome, Probe, Reason, Step, Weights
from skipstone.declared import Positive, Share, Threshold


@dataclass
class State:
    """The previous step's head states, ``(2, batch, tokens, dim)``, and the change added up since.

    ``computed`` holds the head's residuals at the last two computed steps, newest first.
    """

    previous: Tensor | None = None
    accumulated: float = 0.0
    computed: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class DiCache(Cacher[State]):
    """Skip while the first blocks' output changes little, and combine two residuals as these blocks' path
    suggests.

    Use: on a model of which nothing is known, where two residuals are better than one.
    Source: DiCache, arXiv:2508.17356, https://github.com/Bujiazi/DiCache.
    Difference: a batch is judged by its worst sample; the whole batch shares the weights.

    Args:
        threshold: summed change at which a step is computed; 0 computes every step. The official code uses
            0.4 for ``probe`` and 0.08 for ``difference``; the default keeps 30 dB on both bundled models.
        error: what is summed: ``probe``, the relative change of the first blocks' output, or ``difference``,
            how much that differs from the change of their input.
        depth: how many first blocks run on every step, from 1.
        warmup: share of the steps at the start of the run that are computed, 0 to 1; the first step always
            is.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "dicache"
    history = 2
    probe = Probe.HEAD_STATES
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.2
    error: Literal["probe", "difference"] = "probe"
    depth: Positive = 1
    warmup: Share = 0.2

    @property
    def head_blocks(self) -> int:
        return self.depth

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        previous, state.previous = state.previous, probe
        if probe is None:
            return Reason.NO_PROBE
        if previous is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        state.accumulated += self._change(probe, previous)
        if step.index <= int(self.warmup * step.count):
            return Reason.WARM_UP
        if step.is_last:
            return Reason.LAST_STEP
        return reached(state.accumulated, self.threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.accumulated = 0.0
        # Without a probe at a computed step, the path that the weights follow is unknown.
        state.computed = [] if probe is None else [probe[1] - probe[0], *state.computed[:1]]

    def weights(self, step: Step, computed: Sequence[Step], state: State) -> Weights:
        if len(computed) < 2 or len(state.computed) < 2 or state.previous is None:
            return super().weights(step, computed, state)
        newest, older = state.computed
        now = state.previous[1] - state.previous[0]
        way = ((now - older).abs().mean() / (newest - older).abs().mean()).item()
        way = min(max(way, 1.0), 1.5) if math.isfinite(way) else 1.0
        return way, 1.0 - way

    def _change(self, probe: Tensor, previous: Tensor) -> float:
        output = relative_l1(probe[1], previous[1])
        return output if self.error == "probe" else abs(output - relative_l1(probe[0], previous[0]))
