"""DBCache: First Block Cache with several first blocks, and last blocks that correct the estimate."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, Step
from skipstone.declared import Natural, Positive, Threshold

MOST = 8
"""How many blocks cache-dit runs on every step of FLUX, which has 57 blocks."""


@dataclass
class State:
    """The head's residual, ``(batch, tokens, dim)``, at the last computed step; the steps skipped since."""

    computed: Tensor | None = None
    skipped: int = 0


@dataclass(frozen=True)
class DBCache(Cacher[State]):
    """Skip all blocks but the first few while their residual stays close to that of the last computed step.

    Use: where First Block makes mistakes. More first blocks see more of the change, and last blocks correct
    the estimate; all of them cost their time on every step.
    Source: cache-dit, https://github.com/vipshop/cache-dit.
    Difference: a batch is judged by its worst sample. Every computed step resets the count of skips in a row,
    whatever its reason. All lists of blocks are one stack with one decision. Wrap it in `StepMask` for a step
    mask, and in `WithPredictor` for a predictor.

    Args:
        threshold: a step is computed when the first blocks' residual changes by at least this, as relative
            L1; 0 computes every step.
        blocks: how many first blocks run on every step (Fn), from 1. None takes 8, or a quarter of the blocks
            of models with fewer than 32.
        warmup: how many steps at the start of the run are computed, from 0.
        max_skips: how many steps may be skipped in a row, from 1; None for any number.
        last_blocks: how many last blocks run on every step (Bn), from 0. They correct the estimate.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "dbcache"
    probe = Probe.FIRST_BLOCK
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.08
    blocks: Positive | None = None
    warmup: Natural = 8
    max_skips: Positive | None = None
    last_blocks: Natural = 0

    @property
    def head_blocks(self) -> int:
        return self.blocks or MOST

    @property
    def tail_blocks(self) -> int:
        return self.last_blocks

    def for_model(self, model: ModelFacts) -> "DBCache":
        return replace(self, blocks=self.blocks or max(1, min(MOST, model.blocks // 4)))

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if probe is None:
            return Reason.NO_PROBE
        if state.computed is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        if step.index < self.warmup:
            return Reason.WARM_UP
        if state.skipped == self.max_skips:
            return Reason.RUN_CAP
        reason = reached(relative_l1(probe, state.computed), self.threshold)
        state.skipped += reason is None
        return reason

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.computed, state.skipped = probe, 0
