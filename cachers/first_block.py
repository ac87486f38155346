"""First Block Cache: the first block's change shows whether the other blocks must run."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import Outcome, Probe, Reason, Step
from skipstone.declared import Threshold


@dataclass
class State:
    """The first block's residual, ``(batch, tokens, dim)``, at the last computed step."""

    computed: Tensor | None = None


@dataclass(frozen=True)
class FirstBlock(Cacher[State]):
    """Skip all blocks but the first while its residual stays close to that of the last computed step.

    Use: on a transformer of which nothing is known: it has one threshold and nothing to measure.
    Source: ParaAttention, https://github.com/chengzeyi/ParaAttention (a simplification of TeaCache).
    Difference: a batch is judged by its worst sample, not by its mean.

    Args:
        threshold: a step is computed when the first block's residual changes by at least this, as relative
            L1; 0 computes every step.

    Raises:
        ValueError: a negative or non-finite threshold.
    """

    name: ClassVar[str] = "first-block"
    head_blocks = 1
    probe = Probe.FIRST_BLOCK
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.08

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if probe is None:
            return Reason.NO_PROBE
        if state.computed is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        return reached(relative_l1(probe, state.computed), self.threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.computed = probe
