"""Plan on the go: record the first run of a kind; later runs follow a plan made from the record."""

import os
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts, RunFacts, Step
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.planned import Planned, Unplanned
from skipstone.cachers.recorders.run import Recorder, Tape
from skipstone.disk.cache_folder import cache_folder
from skipstone.disk.errors import FileError
from skipstone.notice import Notice
from skipstone.pipelines.planning.conditions import digest
from skipstone.pipelines.planning.promised import promised, unlike
from skipstone.pipelines.planning.record_of_run import record_of
from skipstone.pipelines.run.ranks import from_first, group_of, is_first, of_all
from skipstone.schedules.expectation import POOR, expected_speedup
from skipstone.schedules.load import load_record
from skipstone.schedules.plan import NO_SAFE_SKIPS, Plan
from skipstone.schedules.profile import Profile
from skipstone.schedules.search import Target, find
from skipstone.schedules.shared import SharedPlans
from skipstone.schedules.strips import fewest


def records_folder() -> Path | None:
    """Where records are kept from one process to the next; None for a user without a home."""
    return cache_folder("records")


Describe = Callable[[RunFacts], dict[str, Any]]
"""Says what a record of a run is made for, as `conditions` does."""


class Autoplan:
    """Choose the method of each run of a program.

    Args:
        models: the program's models by name.
        speedup: the target speedup of planned runs against computing every step.
        describe: says of each run what a record of it is made for.
        shared: plans of others, which are looked through before a run is recorded; None for no others.
        loses: what takes away the promises of shared plans, in words.

    Raises:
        ValueError: a speedup outside its range.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        speedup: float,
        describe: Describe,
        shared: SharedPlans | None = None,
        loses: Sequence[str] = (),
    ) -> None:
        self._models = models
        self._describe = describe
        self._speedup = Target(speedup=speedup).speedup or 1.0
        self._shared = shared
        self._loses = loses
        self._is_poor = False
        self._methods: dict[str, Cacher[Any]] = {}
        self.unkept: list[str] = []
        self._sessions: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()

    @property
    def method(self) -> Cacher[Any]:
        """What stands for this in an engine."""
        return Automatic(Recorder(), self, f"planned for speedup {self._speedup:g}")

    def method_for(self, model: ModelFacts, run: RunFacts) -> Cacher[Any]:
        """The method of a run; all models of a run get the same one."""
        session = self._sessions.get(run.key)
        if session is None or session.steps != run.steps:
            session = self._sessions[run.key] = self._begin(run)
        session.models += 1
        return InSession(_of_model(session.method, model).for_run(run), self, session)

    def end(self, session: "Session", skip_cost: Callable[[], float | None]) -> None:
        """Plan after a recorded run, and again after a planned run has measured the cost of skipping."""
        session.models -= 1
        if session.models:
            return
        tapes = {model: tape for model, tape in session.tapes.items() if tape.seen}
        if any(tape.is_complete for tape in tapes.values()):
            self._learn_tapes(session.made_for, tapes)
        elif isinstance(session.method, Planned) and not session.method.plan.record.skip_cost:
            self._learn_cost(session.made_for, session.method.plan.record, skip_cost() or 0.0)

    def forecast(self, session: "Session") -> list[str]:
        """What a recorded run says of those after it."""
        method = self._methods.get(digest(session.made_for))
        if not isinstance(session.method, Recorder) or method is None:
            return []
        return [f"later runs: {', '.join((method.describe(), *method.remarks()))}"]

    def promised(self, session: "Session") -> list[str]:
        """What a shared plan promises to a run that it fits."""
        plan = session.method.plan if isinstance(session.method, Planned) else None
        return [] if plan is None or plan.promise is None else [promised(plan.promise, self._loses)]

    def _learn_tapes(self, made_for: Mapping[str, Any], tapes: Mapping[str, Tape]) -> None:
        try:
            self._learn(record_of(made_for, tapes))
        except ValueError as why:
            self._methods[digest(made_for)] = Unplanned(str(why))

    def _learn_cost(self, made_for: Mapping[str, Any], record: Profile, cost: float) -> None:
        """Plan anew with a known cost, where the speedup can be reached so; else the plan stays."""
        known = replace(record, skip_cost=cost)
        if cost and self._speedup <= expected_speedup(known, fewest(known)):
            self._learn(known)

    def _begin(self, run: RunFacts) -> "Session":
        made_for = _together(of_all(self._group, self._describe(run)))
        key = digest(made_for)
        # Processes that share a model do as their first one: another may have no file.
        method = self._methods[key] = from_first(self._group, lambda: self._known(key, made_for, run))
        return Session(run.steps, made_for, method)

    @property
    def _group(self) -> Any:
        """The processes that share the models; None for this one alone."""
        return group_of(self._models.values())

    def _known(self, key: str, made_for: Mapping[str, Any], run: RunFacts) -> Cacher[Any]:
        if key in self._methods:
            return self._methods[key]
        found = self._from_file(key, run)
        if not isinstance(found, Recorder) or self._shared is None:
            return found
        try:
            fitting = [plan for plan in self._shared.plans if self._fits(plan.record, made_for, run)]
        except FileError as why:
            return replace(found, why=f"as {why}")
        if not fitting:
            return replace(found, why=f"as no plan of {self._shared.repo!r} was made for runs like this one")
        return self._of_others(fitting)

    def _of_others(self, plans: Sequence[Plan]) -> Cacher[Any]:
        """The shared plan that has the asked speed; else a new plan from the record in one of them."""
        made = self._planned(plans[0].record)
        if not isinstance(made, Planned):
            return made
        alike = [plan for plan in plans if plan.computed == made.plan.computed]
        return Planned(alike[0] if alike else replace(made.plan, origin=plans[0].origin))

    def _from_file(self, key: str, run: RunFacts) -> Cacher[Any]:
        path = _path(key)
        if path is None or not os.path.isfile(path):
            return Recorder(why="so that later runs are planned")
        try:
            record = load_record(path)
        except ValueError as why:
            return Recorder(why=f"as {why}")
        if digest(record.made_for) != key or not self._serves(record, run):
            return Recorder(why=f"as {str(path)!r} was made for other runs than its name says")
        return self._planned(record)

    def _fits(self, record: Profile, made_for: Mapping[str, Any], run: RunFacts) -> bool:
        """Whether a record of others was made for runs like this one, and is what it says."""
        return self._serves(record, run) and not any(unlike(record, made_for))

    def _serves(self, record: Profile, run: RunFacts) -> bool:
        """Whether a record is of some of these models, and of a run with these noise levels."""
        alike = record.steps == len(run.levels) and np.allclose(record.levels, run.levels, atol=1e-4)
        return alike and set(record.models) <= set(self._models)

    def _learn(self, record: Profile) -> None:
        key = digest(record.made_for)
        self._methods[key] = self._planned(record)
        self.unkept = _keep(record, _path(key)) if is_first(self._group) else []

    def _planned(self, record: Profile) -> Cacher[Any]:
        try:
            plan = find(record, Target(speedup=self._speedup))
        except ValueError as why:
            return Unplanned(str(why))
        if not plan.is_safe:
            return Unplanned(NO_SAFE_SKIPS)
        self._warn(plan)
        return Planned(plan)

    def _warn(self, plan: Plan) -> None:
        """Say once that a speed makes another picture."""
        if self._is_poor or plan.expected_psnr is None or plan.expected_psnr >= POOR:
            return
        self._is_poor = True
        warnings.warn(f"speedup {self._speedup:g}: {plan.outlook}", Notice, stacklevel=2)


def _of_model(method: Cacher[Any], model: ModelFacts) -> Cacher[Any]:
    """The method for a model; a record that lacks the model plans nothing for it."""
    try:
        return method.for_model(model)
    except ValueError as why:
        return Unplanned(str(why))


def _together(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a record is made for in all processes; they differ where each holds a part of the weights."""
    first = each[0]
    return first if all(one == first for one in each) else {**first, "parts": digest(each)}


def _path(key: str) -> Path | None:
    folder = records_folder()
    return None if folder is None else folder / f"{key}.json"


def _keep(record: Profile, path: Path | None) -> list[str]:
    """Keep a record for other processes; remarks say why that could not be. The run does not depend on it."""
    if path is None:
        return ["the record is not kept for other processes: there is no home folder"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        record.save(path)
    except (OSError, ValueError) as error:
        return [f"the record is not kept for other processes: {error}"]
    return []


class Session:
    """One run that is recorded or planned.

    Args:
        steps: its steps.
        made_for: the runs that a record of it serves.
        method: what it is made with; what records has tapes of its own here.
    """

    def __init__(self, steps: tuple[Step, ...], made_for: Mapping[str, Any], method: Cacher[Any]) -> None:
        self.steps = steps
        self.made_for = made_for
        self.tapes: dict[str, Tape] = {}
        self.method = replace(method, tapes=self.tapes) if isinstance(method, Recorder) else method
        self.models = 0


@dataclass(frozen=True)
class InSession(Wrapper):
    """Tell an `Autoplan` when its run is over.

    Args:
        cacher: what the run is made with.
        autoplan: what to tell.
        session: the run.
    """

    name: ClassVar[str] = "in-session"

    autoplan: Autoplan = field(compare=False)
    session: Session = field(compare=False)

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        super().end_run(skip_cost)
        self.autoplan.end(self.session, skip_cost)

    def remarks(self) -> Sequence[str]:
        said = self.autoplan.forecast(self.session) or self.cacher.remarks()
        return [*said, *self.autoplan.promised(self.session), *self.autoplan.unkept]

    def describe(self) -> str:
        return self.cacher.describe()


@dataclass(frozen=True)
class Automatic(Wrapper):
    """Ask an `Autoplan` at the beginning of each run.

    Args:
        cacher: what records.
        autoplan: what to ask.
        text: its description.
        model: the model; attaching sets it.
    """

    name: ClassVar[str] = "automatic"

    autoplan: Autoplan
    text: str
    model: ModelFacts | None = None

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        return replace(self, model=model)

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        assert self.model is not None
        return self.autoplan.method_for(self.model, run)

    def describe(self) -> str:
        return self.text
