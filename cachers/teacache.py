"""TeaCache: sum the changes of the timestep-aware input, and compute when the sum is large."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, Step
from skipstone.declared import Threshold
from skipstone.schedules.published.polynomials import (
    IDENTITY,
    Polynomial,
    published,
    published_for,
)


@dataclass
class State:
    """The previous step's probe and the change added up since the last computed step."""

    previous: Tensor | None = None
    accumulated: float = 0.0


@dataclass(frozen=True)
class TeaCache(Cacher[State]):
    """Skip until the summed, rescaled changes of the timestep-aware input reach a threshold.

    Use: on the models with published polynomials. Elsewhere fit it first, or use the change as it is.
    Source: TeaCache, arXiv:2411.19108, https://github.com/ali-vilab/TeaCache.
    Difference: the polynomial is clamped at zero; the original can turn negative outside its fitted range and
    then never computes again. A batch is judged by its worst sample. The position in the run comes from the
    scheduler, not from a counter. Each set computes the first and last steps of the original; without a set
    these are the first and the last step.

    Args:
        threshold: summed change at which a step is computed, in the unit of ``rescale``; 0 computes every
            step. None takes the official code's careful setting for the model, or 0.05 without a published
            set.
        rescale: the polynomial that maps a change of the input to a change of the output. ``auto`` takes the
            model's published one, if there is one. ``retention`` takes that of Wan2.1's retention mode, which
            looks at the projected time embedding and computes the first five steps. ``none`` takes the change
            as it is. Else the name of a published set (`skipstone.schedules.published.polynomials.PUBLISHED`)
            or a polynomial, such as `skipstone.fit_teacache` returns.

    Raises:
        ValueError: a negative or non-finite threshold, or an unknown set; when attached, ``retention`` on a
            model without such a set.
    """

    name: ClassVar[str] = "teacache"
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold | None = None
    rescale: str | Polynomial = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rescale, str) and self.rescale not in ("auto", "retention"):
            published(self.rescale)

    @property
    def polynomial(self) -> Polynomial:
        if isinstance(self.rescale, Polynomial):
            return self.rescale
        return IDENTITY if self.rescale in ("auto", "retention") else published(self.rescale)

    @property
    def _threshold(self) -> float:
        return self.polynomial.threshold if self.threshold is None else self.threshold

    @property
    def probe(self) -> Probe:
        return Probe(self.polynomial.indicator)

    def for_model(self, model: ModelFacts) -> "TeaCache":
        resolved = self
        if self.rescale in ("auto", "retention"):
            retention = self.rescale == "retention"
            polynomial = published_for(model.class_name, model.config, retention)
            if retention and polynomial is IDENTITY:
                raise ValueError(f"there is no retention set for this {model.class_name}; use rescale='auto'")
            resolved = replace(self, rescale=polynomial.name)
        return replace(resolved, threshold=resolved._threshold)

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        previous, state.previous = state.previous, probe
        if probe is None:
            return Reason.NO_PROBE
        if previous is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        state.accumulated += self.polynomial(relative_l1(probe, previous))
        if self.polynomial.forced(step.index, step.count):
            return Reason.LAST_STEP if step.is_last else Reason.WARM_UP
        return reached(state.accumulated, self._threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.accumulated = 0.0
