"""Planned caching: one recorded run says which steps to compute and how to estimate the others."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from reprlib import repr as shortly
from typing import Annotated, Any, ClassVar

from annotated_types import Gt
from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, RunFacts, Step
from skipstone.cachers.guard import Course, Watch
from skipstone.schedules.moments import Moments
from skipstone.schedules.plan import ANCHORS, Plan

Guard = Annotated[float, Gt(1)] | None
"""How many times their expected error estimates may have; None for any."""


@dataclass
class State:
    """The newest computed steps that the record knows, newest first, and where a guard watches, its watch."""

    anchors: deque[int]
    watch: Watch | None = None


@dataclass(frozen=True)
class Planned(Cacher[State]):
    """Compute the steps that a plan has chosen from one recorded run, and weigh residuals by least squares.

    Decisions and weights are known before the run. Nothing is read from the device, unless a guard compares,
    and that so late that the device never waits.

    Use: if one run can be recorded. The speed is known beforehand, and steps and weights are the best for it.
    Source: skipstone itself, docs/planned.md.

    Args:
        plan: a plan from ``record.plan`` or `skipstone.load_plan`.
        guard: how many times their expected error the estimates of the last computed steps may have, in
            geometric mean, before the rest of the run follows a denser plan, above 1; None for any.
        model: the model's name in the pipeline; attaching sets it.
        unlike: what the plan was made for and a run is not; each run sets it.

    Raises:
        ValueError: a guard that is not above 1; when attached, a plan for other models.
    """

    name: ClassVar[str] = "planned"
    probe = Probe.NONE

    plan: Plan
    guard: Guard = None
    model: str = "transformer"
    unlike: str = ""

    @property
    def moments(self) -> Moments:
        """The moments that the weights come from."""
        return self.plan.weights[self.model]

    @property
    def history(self) -> int:
        return ANCHORS

    def for_model(self, model: ModelFacts) -> "Planned":
        known = self.plan.record.models
        if model.name not in known:
            raise ValueError(
                f"the plan is for {', '.join(known)}, but the pipeline also has {model.name}: record it"
            )
        made_for = self.plan.record.made_for.get("models", {}).get(model.name, {}).get("class")
        if made_for not in (None, model.class_name):
            raise ValueError(f"the plan was made for {made_for!r}, this is {model.class_name}: record it")
        return replace(self, model=model.name)

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        try:
            plan = self.plan.for_levels(run.levels)
        except ValueError as why:
            return Unplanned(str(why))
        unlike = differences(plan.record.made_for, run)
        if self.guard is None:
            return replace(self, plan=plan, unlike=unlike)
        course = Course(self.guard, len(plan.strips) - 1)
        return Guarded(plan, self.guard, self.model, unlike, course)

    def new_state(self) -> State:
        return State(deque(maxlen=self.history))

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if not state.anchors:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        if self.plan.strips[self._level(step)][step.index] == ".":
            return None
        return Reason.PLANNED if self.plan.strip[step.index] == "#" else Reason.DEVIATES

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        if step.index in self.moments.steps:
            state.anchors.appendleft(step.index)

    def weights(self, step: Step, computed: Sequence[Step], state: State) -> Sequence[float]:
        known = [one.index for one in computed if one.index in self.moments.steps]
        found = dict(zip(known, self.moments.weights(step.index, known), strict=True))
        return [found.get(one.index, 0.0) for one in computed]

    def remarks(self) -> Sequence[str]:
        unlike = f"the plan was made for {self.unlike}: record a run like this one" if self.unlike else ""
        return [text for text in (self.plan.outlook, unlike) if text]

    def describe(self) -> str:
        line = f"{self.name} {self.plan.computed} of {len(self.plan.strip)} steps"
        return line if self.guard is None else f"{line}, guard {self.guard:g}"

    def _level(self, step: Step) -> int:
        """The number of the strip that is followed."""
        del step
        return 0


@dataclass(frozen=True)
class Guarded(Planned):
    """One run of a plan with a guard; `Planned.for_run` makes it.

    Args:
        course: what the branches share.
    """

    course: Course = field(default_factory=lambda: Course(2.0, 0))

    def new_state(self) -> State:
        return State(deque(maxlen=self.history), Watch(self.history, self.course))

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        value = outcome.output if outcome.residual is None else outcome.residual
        if value is not None and step.index in self.moments.steps:
            assert state.watch is not None
            anchors = list(state.anchors)
            weights = self.moments.weights(step.index, anchors) if anchors else []
            expected = self.plan.expected_error(self.model, step.index, anchors) if anchors else 0.0
            state.watch.compare(step, value, weights, expected)
        super().update(probe, outcome, step, state)

    def deviations(self) -> Sequence[float]:
        return self.course.deviations()

    def _level(self, step: Step) -> int:
        return self.course.look(step)


def differences(made_for: Mapping[str, Any], run: RunFacts) -> str:
    """What a plan was made for and a run is not, in words."""
    here = {**run.scales, "shape": list(run.shape), "dtype": run.dtype}
    guidance = made_for.get("guidance")
    known = {**made_for, **guidance} if isinstance(guidance, Mapping) else made_for
    unlike = [name for name in here if name in known and known[name] != here[name]]
    return ", ".join(f"{name} {shortly(known[name])}, not {here[name]}" for name in unlike)


@dataclass(frozen=True)
class Unplanned(ByStep):
    """Compute every step of a run that a plan does not serve.

    Args:
        why: the reason.
    """

    name: ClassVar[str] = "planned"
    history = 0

    why: str

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return Reason.NOT_PLANNED

    def describe(self) -> str:
        return f"{self.name} nothing: {self.why}"
