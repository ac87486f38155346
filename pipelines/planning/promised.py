"""Say after each run whether the quality that a plan promises holds for it."""

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
    """Follow a plan that has a promise; withdraw it from runs unlike the calibrated ones.

    Args:
        cacher: the plan at work.
        promise: what it promises.
        made_for: the runs that it was calibrated on.
        pipe: the pipeline.
        models: its models by name.
        loses: what else takes the promise away, in words.
        said: whether it holds for the present run; each run sets it.
    """

    name: ClassVar[str] = "promised"

    promise: Promise
    made_for: Mapping[str, Any]
    pipe: "weakref.ref[Any]"
    models: Mapping[str, nn.Module]
    loses: tuple[str, ...] = ()
    said: str = ""

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_model(model))

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        models = {name: self.models[name] for name in self.made_for["models"] if name in self.models}
        here = conditions(self.pipe(), models, run)
        other = [*dict.fromkeys(unlike(self.made_for, here)), *self.loses]
        withdrawn = f"{self.promise.goal} is not promised to this run, which has {', '.join(other)}"
        return replace(self, cacher=self.cacher.for_run(run), said=withdrawn if other else str(self.promise))

    def remarks(self) -> Sequence[str]:
        return [*self.cacher.remarks(), self.said]

    def describe(self) -> str:
        return self.cacher.describe()


def with_promise(
    cacher: Cacher[Any], pipe: Any, models: Mapping[str, nn.Module], snapshots: str | None
) -> Cacher[Any]:
    """The method, which says what its plan promises if that is a promise.

    Args:
        cacher: any method; a plan that others are wrapped around promises nothing.
        pipe: the pipeline.
        models: its models by name.
        snapshots: the 8-bit type that residuals are kept in; None for the computed one.
    """
    if not isinstance(cacher, Planned) or cacher.plan.promise is None:
        return cacher
    loses = () if snapshots is None else (f"residuals kept as {snapshots}",)
    made_for = cacher.plan.record.made_for
    return Promised(cacher, cacher.plan.promise, made_for, weakref.ref(pipe), models, loses)


def unlike(made_for: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """In what a run differs from those that a record was made for, in words.

    Args:
        made_for: as `conditions` describes the recorded run.
        here: the same of this run.
    """
    for name, words in OF_RUNS.items():
        if digest(made_for.get(name)) != digest(here.get(name)):
            yield words
    for model, known in made_for["models"].items():
        found = here["models"].get(model, {})
        yield from (
            f"other {words} of {model}" for name, words in OF_MODELS.items()
            if digest(known.get(name)) != digest(found.get(name))
        )  # fmt: skip
