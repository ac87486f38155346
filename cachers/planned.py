"""Planned caching: one recorded run says which steps to compute and how to estimate the others."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from reprlib import repr as shortly
from typing import Any, ClassVar

from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, RunFacts, Solved, Step
from skipstone.cachers.innovation import Innovation, Seen
from skipstone.cachers.settling import PlanSettling, Settling
from skipstone.schedules.moments import Moments
from skipstone.schedules.plan import Plan


@dataclass
class State:
    """The newest computed steps that the record knows, newest first, and their outputs."""

    anchors: deque[int]
    seen: Seen


@dataclass(frozen=True)
class Planned(Cacher[State]):
    """Compute the steps that a plan has chosen from one recorded run, and weigh residuals by least squares.

    Decisions and weights are known before the run, so nothing is read from the device.

    Use: if one run can be recorded. The speed is known beforehand, and steps and weights are the best for it.
    Source: skipstone itself, docs/planned.md.

    Args:
        plan: a plan from ``record.plan`` or `skipstone.load_plan`.
        model: the model's name in the pipeline; attaching sets it.

    Raises:
        ValueError: when attached, a plan for other models.
    """

    name: ClassVar[str] = "planned"
    probe = Probe.NONE

    plan: Plan
    model: str = "transformer"

    @property
    def moments(self) -> Moments:
        """The moments that the weights come from."""
        return self.plan.weights[self.model]

    @property
    def history(self) -> int:
        return self.plan.recipe.anchors

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
        usual = () if unlike or plan is not self.plan else plan.deviations
        # Without levels it is not known which recorded steps those of the run are.
        settles = run.has_levels and plan.recipe.settles
        settling = PlanSettling(plan.recipe.anchors, plan, self.model) if settles else None
        return Followed(plan, self.model, unlike, tuple(usual), Innovation(run.guidance), settling)

    def new_state(self) -> State:
        return State(deque(maxlen=self.history), Seen(self.history))

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if not state.anchors:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        return None if self.plan.strip[step.index] == "." else Reason.PLANNED

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        if step.index in self.moments.steps:
            state.anchors.appendleft(step.index)

    def weights(self, step: Step, computed: Sequence[Step], state: State) -> Sequence[float]:
        known = [one.index for one in computed if one.index in self.moments.steps]
        found = dict(zip(known, self.plan.weights_for(self.model, step.index, known), strict=True))
        return [found.get(one.index, 0.0) for one in computed]

    def remarks(self) -> Sequence[str]:
        origin = self.plan.origin and f"shared as {self.plan.origin}"
        return [*filter(None, (origin, self.plan.outlook))]

    def describe(self) -> str:
        return f"{self.name} {self.plan.computed} of {len(self.plan.strip)} steps"


@dataclass(frozen=True)
class Followed(Planned):
    """A plan in one run; `Planned.for_run` makes it.

    Args:
        unlike: what the plan was made for and the run is not, in words.
        usual: the deviations of recorded runs.
        innovation: what the branches share.
        settling: undoes errors of gaps; None where it cannot.
    """

    unlike: str = ""
    usual: tuple[float, ...] = ()
    innovation: Innovation = field(default_factory=Innovation, compare=False)
    settling: Settling | None = field(default=None, compare=False)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        if outcome.output is not None and step.index in self.moments.steps:
            anchors = list(state.anchors)
            weights = self.plan.weights_for(self.model, step.index, anchors) if anchors else []
            part = state.seen.part(outcome.output, weights)
            if part is not None:
                self.innovation.add(step, outcome.branch, part)
        super().update(probe, outcome, step, state)

    @property
    def settles(self) -> bool:
        return self.settling is not None

    def settle(self, solved: Solved) -> None:
        if self.settling is not None:
            self.settling.after(solved)

    @property
    def nbytes(self) -> int:
        return 0 if self.settling is None else self.settling.nbytes

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        # Logs keep the methods of former runs.
        if self.settling is not None:
            self.settling.kept.clear()

    def deviations(self) -> Sequence[float]:
        return self.innovation.sizes()

    def usual_deviations(self) -> Sequence[float]:
        return self.usual

    def remarks(self) -> Sequence[str]:
        if not self.unlike:
            return super().remarks()
        return [*super().remarks(), f"the plan was made for {self.unlike}: record a run like this one"]


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
