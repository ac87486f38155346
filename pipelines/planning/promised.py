"""Say after each run whether it is one that a plan was made for, and whether its promise holds."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts, RunFacts
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.planned import Planned
from skipstone.pipelines.planning.conditions import conditions, digest
from skipstone.schedules.profile import Profile
from skipstone.schedules.promise import Promise

OF_RUNS = {
    "pipeline": "another pipeline",
    "scheduler": "another scheduler",
    "steps": "another number of steps",
    "timesteps": "other timesteps",
    "guidance": "other guidance",
    "shape": "another size",
    "dtype": "another precision",
}
"""What takes a promise away where it differs, by its name in a record, in words."""

OF_MODELS = {
    "class": "class",
    "config": "configuration",
    "weights": "weights",
    "adapters": "adapters",
    "layers": "adapters",
    "pictures": "picture prompts",
}
"""The same of each model."""


@dataclass(frozen=True)
class Promised(Wrapper):
    """Follow a plan that has a promise or comes from others; say where runs are unlike those it was made for.

    Args:
        cacher: the plan at work.
        promise: what it promises; None if it promises nothing.
        record: what it was made from.
        pipe: the pipeline.
        models: its models by name.
        loses: what else takes the promise away, in words.
        said: what holds for the present run; each run sets it.
    """

    name: ClassVar[str] = "promised"

    promise: Promise | None
    record: Profile
    pipe: "weakref.ref[Any]"
    models: Mapping[str, nn.Module]
    loses: Sequence[str] = ()
    said: str = ""

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_model(model))

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        models = {name: self.models[name] for name in _models(self.record) if name in self.models}
        here = conditions(self.pipe(), models, run)
        said = promised(self.promise, [*dict.fromkeys(unlike(self.record, here)), *self.loses])
        return replace(self, cacher=self.cacher.for_run(run), said=said)

    def remarks(self) -> Sequence[str]:
        return [*self.cacher.remarks(), *filter(None, [self.said])]

    def describe(self) -> str:
        return self.cacher.describe()


def with_promise(
    cacher: Cacher[Any], pipe: Any, models: Mapping[str, nn.Module], loses: Sequence[str]
) -> Cacher[Any]:
    """The method, which says what its plan promises, and what a shared plan was not made for.

    Args:
        cacher: any method; a plan that others are wrapped around promises nothing.
        pipe: the pipeline.
        models: its models by name.
        loses: what takes a promise away from all runs, in words.
    """
    if not isinstance(cacher, Planned) or not (cacher.plan.promise or cacher.plan.origin):
        return cacher
    plan = cacher.plan
    loses = loses if plan.promise else ()
    return Promised(cacher, plan.promise, plan.record, weakref.ref(pipe), models, loses)


def lost_by(snapshots: str | None) -> Sequence[str]:
    """What takes promises away, in words, for the 8-bit type that residuals are kept in."""
    return () if snapshots is None else (f"residuals kept as {snapshots}",)


def promised(promise: Promise | None, other: Sequence[str]) -> str:
    """What a plan promises to a run; empty for nothing.

    Args:
        promise: the plan's promise; None if it has none.
        other: in what the run differs from those that the plan was made for, in words.
    """
    if not other:
        return "" if promise is None else str(promise)
    differing = ", ".join(other)
    if promise is None:
        return f"the plan was not made for this run, which has {differing}: record a run like this one"
    return f"{promise.goal} is not promised to this run, which has {differing}"


def unlike(record: Profile, here: Mapping[str, Any]) -> Iterator[str]:
    """In what a run differs from those that a record was made for, in words.

    Args:
        record: any; of what it does not say, it was made for something else.
        here: as `conditions` describes this run.
    """
    made_for = record.made_for
    for name, words in OF_RUNS.items():
        if digest(made_for.get(name)) != digest(here.get(name)):
            yield words
    for model in _models(record):
        known, found = made_for.get("models", {}).get(model), here["models"].get(model)
        yield from (f"other {words} of {model}" for words in _other(known, found))


def _models(record: Profile) -> Sequence[str]:
    """The models that a record names, and those that it plans without a word on them."""
    return list(dict.fromkeys([*record.made_for.get("models", {}), *record.models]))


def _other(known: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> Iterator[str]:
    """In what a model differs from the recorded one; one that nothing is known of has other weights."""
    if known is None or found is None:
        yield OF_MODELS["weights"]
        return
    for name, words in OF_MODELS.items():
        if digest(known.get(name)) != digest(found.get(name)):
            yield words
