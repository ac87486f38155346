"""EasyCache: predict the output's change from the input's change and their last known ratio."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import mean_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import Outcome, Probe, Reason, Step
from skipstone.declared import Natural, Threshold


@dataclass
class State:
    """The inputs, ``(batch, ...)``, at the previous and at the last computed step; the output and rate there.

    ``rate`` is the output's change over the input's change between the last two computed steps.
    ``accumulated`` is the predicted relative change of the output since then. Both are ``(batch,)``.
    """

    previous: Tensor | None = None
    computed: Tensor | None = None
    output: Tensor | None = None
    rate: Tensor | None = None
    accumulated: Tensor | None = None


@dataclass(frozen=True)
class EasyCache(Cacher[State]):
    """Skip until the predicted changes of the output add up to a threshold; they follow from the input alone.

    Use: on any model, also if its blocks cannot be found: it sees only the model's input and output.
    Source: EasyCache, arXiv:2507.02860, https://github.com/H-EmbodVis/EasyCache.
    Difference: the residual of the blocks is reused, not output minus input, so the output projection still
    sees the current timestep. A batch is judged by its worst sample.

    Args:
        threshold: summed relative change of the output at which a step is computed; 0 computes every step.
        warmup: how many steps at the start of the run are computed, from 0. The first two always are: the
            rate comes from them.

    Raises:
        ValueError: a negative or non-finite threshold, or a negative warm-up.
    """

    name: ClassVar[str] = "easycache"
    probe = Probe.MODEL_INPUT
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.025
    warmup: Natural = 5

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        previous, state.previous = state.previous, probe
        if probe is None:
            return Reason.NO_PROBE
        if previous is None or state.output is None or state.rate is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        moved = mean_l1(probe, previous)
        change = torch.where(moved == 0, 0.0, state.rate * moved / mean_l1(state.output))
        state.accumulated = change if state.accumulated is None else state.accumulated + change
        if step.index < self.warmup:
            return Reason.WARM_UP
        if step.is_last:
            return Reason.LAST_STEP
        return reached(state.accumulated.max().item(), self.threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.accumulated = None
        if state.output is not None and state.computed is not None:
            if probe is None or outcome.output is None:
                state.rate = None
            else:
                state.rate = mean_l1(outcome.output, state.output) / mean_l1(probe, state.computed)
        state.computed, state.output = probe, outcome.output
