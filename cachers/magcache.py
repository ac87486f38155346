"""MagCache: how the residual's magnitude changes from step to step is the same for every prompt."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, Step
from skipstone.declared import Positive, Share, Threshold
from skipstone.schedules.published.magnitudes import interpolated, published_ratios


@dataclass
class State:
    """The product of the ratios, the error added up, and the steps skipped since the last computed step."""

    ratio: float = 1.0
    error: float = 0.0
    skipped: int = 0


@dataclass(frozen=True)
class MagCache(Cacher[State]):
    """Skip until the residual's magnitude, known from one run, has changed too much.

    The decisions depend on the ratios alone, so they are the same for every prompt.

    Use: on models with published ratios, or after one calibration run; all decisions are known before the
    run.
    Source: MagCache, arXiv:2506.09045, https://github.com/Zehong-Ma/MagCache.
    Difference: both guidance branches use the ratios published for the first one.

    Args:
        threshold: summed error at which a step is computed; 0 computes every step.
        max_skips: how many steps may be skipped in a row, from 1.
        warmup: share of the steps at the start of the run that are computed, 0 to 1; the first step always
            is.
        ratios: for each step, the residual's magnitude divided by that of the step before, 1 for the first. A
            run of another number of steps uses the nearest ratios. None takes the model's published ratios;
            for other models `skipstone.fit_magcache` measures them.

    Raises:
        ValueError: a value outside its range; when attached, no ratios for the model.
    """

    name: ClassVar[str] = "magcache"
    probe = Probe.NONE
    # The official settings allow 2 skips at 0.12 and 6 at 0.24; with 2 everywhere no run is twice as fast.
    ladder = rungs(threshold=THRESHOLDS, max_skips=[max(1, round(25 * t - 0.5)) for t in THRESHOLDS])

    threshold: Threshold = 0.12
    max_skips: Positive = 2
    warmup: Share = 0.2
    ratios: tuple[Annotated[float, Gt(0)], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratios == ():
            raise ValueError("ratios must be one for each step, got none")

    def for_model(self, model: ModelFacts) -> "MagCache":
        ratios = self.ratios or published_ratios(model.class_name, model.config)
        if ratios is None:
            raise ValueError(
                f"magcache has no published ratios for this {model.class_name}; measure them with "
                "skipstone.fit_magcache(pipe, prompt), or pass ratios=..."
            )
        return replace(self, ratios=ratios)

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if step.is_first:
            return Reason.FIRST_STEP
        if step.index < int(self.warmup * step.count):
            return Reason.WARM_UP
        assert self.ratios is not None
        state.ratio *= interpolated(self.ratios, step.index, step.count)
        state.error += abs(1 - state.ratio)
        state.skipped += 1
        if state.skipped > self.max_skips:
            return Reason.RUN_CAP
        return reached(state.error, self.threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.ratio, state.error, state.skipped = 1.0, 0.0, 0

    def describe(self) -> str:
        return f"{self.name} threshold {self.threshold:g}, max_skips {self.max_skips}, warmup {self.warmup:g}"
