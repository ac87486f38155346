"""Records and plans from their files, checked value by value."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from skipstone.disk import hub
from skipstone.disk.reading import Name, Plain, Schema, read_bytes
from skipstone.schedules import files
from skipstone.schedules.importance import Prediction
from skipstone.schedules.moments import Floats, Moments
from skipstone.schedules.plan import Plan, Validation
from skipstone.schedules.profile import GUIDED, OUTPUT, RESIDUAL, Quantity
from skipstone.schedules.promise import Goal, Metric, Promise, failures_allowed
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.record import Record

MOST_STEPS = 1000
"""No run has more steps: schedulers are trained with as many."""

BEYOND = 1e-3
"""How far rounding may take a noise level beyond 0 or 1."""

MATRICES = (RESIDUAL, OUTPUT, f"{GUIDED} {RESIDUAL}", f"{GUIDED} {OUTPUT}")
"""The names of all matrices that plans can be made from, as of `Profile.matrix`."""

Index = Annotated[int, Field(ge=0, lt=MOST_STEPS)]
Level = Annotated[float, Field(ge=-BEYOND, le=1 + BEYOND)]
Product = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Of a quantity with a mean square of about 1 over the run."""
Strip = Annotated[str, Field(pattern=r"^[#.]+$", max_length=MOST_STEPS)]
Decibels = Annotated[float, Field(ge=-1e6, le=1e6)]
Measured = Annotated[float, Field(ge=-1e6, le=1e6)]
"""By any metric."""
Deviation = Annotated[float, Field(ge=0)]


def load_record(path: str | Path) -> Record:
    """Read a record from a file.

    Raises:
        ValueError: the file is not a record, is damaged, or was written by another skipstone.
    """
    return files.read(read_bytes(path), "record", RecordFile, repr(str(path))).record()


def load_plan(path: str | Path) -> Plan:
    """Read a plan from a file, or from the Hugging Face hub.

    Args:
        path: a file; or ``OWNER/REPOSITORY/NAME`` of the hub, if there is no such file.

    Raises:
        ValueError: the file is not a plan, is damaged, or was written by another skipstone; or the hub has no
            such plan or does not answer.
    """
    address = hub.address(path)
    if address is None:
        return plan_of(read_bytes(path), repr(str(path)))
    return shared_plan(hub.Repository(address[0]), address[1])


def shared_plan(repository: hub.Repository, name: str) -> Plan:
    """The plan of this name in a repository of the hub; the errors are those of `load_plan`."""
    origin = f"{repository.name}/{name}"
    return replace(plan_of(repository.read(f"{name}.json"), repr(origin)), origin=origin)


def plan_of(content: bytes, place: str) -> Plan:
    """The plan that the bytes of a file hold; the place is for errors, which are those of `load_plan`."""
    return files.read(content, "plan", PlanFile, place).plan()


class KeptMoments(Schema):
    """As of `Moments`; of the symmetric matrix the lower triangle, row after row."""

    model: Name
    branch: Name
    name: Literal["residual", "output"]
    steps: Annotated[list[Index], Field(min_length=1, max_length=MOST_STEPS)]
    scale: Annotated[float, Field(ge=1e-12, le=1e12)]
    gram: Annotated[list[Product], Field(max_length=MOST_STEPS * (MOST_STEPS + 1) // 2)]

    @property
    def quantity(self) -> Quantity:
        return Quantity(self.model, self.branch, self.name)

    def moments(self) -> Moments:
        count = len(self.steps)
        gram: Floats = np.zeros((count, count))
        gram[np.tril_indices(count)] = self.gram
        return Moments(tuple(self.steps), gram + np.tril(gram, -1).T, self.scale)

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.steps)
        if self.steps != sorted(set(self.steps)):
            raise ValueError("steps should rise")
        if len(self.gram) != count * (count + 1) // 2:
            raise ValueError(f"gram should have {count * (count + 1) // 2} values for {count} steps")
        gram = self.moments().gram
        if not (gram.diagonal() > 0).all() or np.linalg.eigvalsh(gram)[0] < -1e-6 * np.trace(gram):
            raise ValueError("the moments are those of no quantity")
        return self


class MadeFor(Schema):
    """What a record says that it was made for."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Plain]

    models: dict[Name, dict[Name, Plain]] = Field(default_factory=dict)
    prediction: Prediction = "flow"
    dtype: Name = ""


class KeptRecord(Schema):
    """As of `Record`."""

    made_for: MadeFor
    levels: Annotated[list[Level], Field(min_length=1, max_length=MOST_STEPS)]
    prompts: Annotated[int, Field(ge=1, le=10**9)]
    skip_cost: Annotated[float, Field(ge=0, le=1e6)]
    moments: Annotated[list[KeptMoments], Field(min_length=1, max_length=100)]

    def record(self) -> Record:
        made_for = self.made_for.model_dump(exclude_unset=True)
        moments = {one.quantity: one.moments() for one in self.moments}
        return Record(made_for, tuple(self.levels), moments, self.prompts, self.skip_cost)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(before < after for before, after in zip(self.levels, self.levels[1:], strict=False)):
            raise ValueError("levels should fall")
        if len({one.quantity for one in self.moments}) < len(self.moments):
            raise ValueError("moments should hold each quantity once")
        for one in self.moments:
            if one.steps[-1] >= len(self.levels):
                raise ValueError(f"moments have step {one.steps[-1]} in a run of {len(self.levels)}")
        self._check_models()
        return self

    def _check_models(self) -> None:
        models = {one.model for one in self.moments}
        others = models - set(self.made_for.models or models)
        if others:
            raise ValueError(f"moments are of {sorted(others)[0]!r}, which made_for.models lacks")
        self._check_steps(self.record(), models)

    def _check_steps(self, record: Record, models: Iterable[str]) -> None:
        """What plans are made from is known on the same steps, and each step is one model's."""
        seen: set[int] = set()
        for model in models:
            found = [record.matrix(model, name) for name in MATRICES]
            if found[0] is None:
                raise ValueError(f"moments should hold residuals of {model!r}")
            steps = set(found[0].steps)
            if steps & seen or any(part is not None and set(part.steps) != steps for part in found):
                raise ValueError("moments should be of the same steps, and each step of one model")
            seen |= steps


class RecordFile(KeptRecord, files.Head):
    """The file of a record."""


class KeptRecipe(Schema):
    """As of `Recipe`."""

    weights: Annotated[str, Field(pattern=f"^({'|'.join(MATRICES)})$")]
    power: Literal[1, 2]
    anchors: Literal[1, 2] = 2
    settles: bool = False

    def recipe(self) -> Recipe:
        return Recipe(self.weights, self.power, self.anchors, self.settles)


class KeptValidation(Schema):
    """As of `Validation`; an infinite PSNR is null."""

    recipe: KeptRecipe
    computed: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    psnr: Annotated[list[Decibels | None], Field(min_length=1, max_length=10**6)]
    deviations: Annotated[list[Deviation], Field(max_length=10**6)]

    def validation(self) -> Validation:
        psnr = tuple(math.inf if value is None else value for value in self.psnr)
        return Validation(self.recipe.recipe(), self.computed, psnr, tuple(self.deviations))


class KeptGoal(Schema):
    """As of `Goal`."""

    metric: Metric
    value: Measured

    def goal(self) -> Goal:
        return Goal(self.metric, self.value)


class KeptPromise(Schema):
    """As of `Promise`."""

    goal: KeptGoal
    share: Annotated[float, Field(gt=0.5, lt=1)] | None
    values: Annotated[list[Measured], Field(min_length=1, max_length=10**6)]

    def promise(self) -> Promise:
        return Promise(self.goal.goal(), self.share, tuple(self.values))

    @model_validator(mode="after")
    def _check(self) -> Self:
        promise = self.promise()
        allowed = 0 if self.share is None else failures_allowed(promise.prompts, self.share)
        if promise.failures > allowed:
            raise ValueError(f"{promise.failures} of {promise.prompts} values miss what is promised")
        return self


class PlanFile(files.Head):
    """The file of a plan, as of `Plan`."""

    record: KeptRecord
    recipe: KeptRecipe
    strip: Strip
    validations: Annotated[list[KeptValidation], Field(max_length=10**4)]
    promise: KeptPromise | None

    def plan(self) -> Plan:
        validations = tuple(one.validation() for one in self.validations)
        promise = None if self.promise is None else self.promise.promise()
        return Plan(self.record.record(), self.recipe.recipe(), self.strip, validations, promise)

    @model_validator(mode="after")
    def _check(self) -> Self:
        record = self.record.record()
        needed = set(range(record.steps))
        for model in record.models:
            weights = record.matrix(model, self.recipe.weights)
            if weights is None:
                raise ValueError(f"the record has no {self.recipe.weights} of {model!r}")
            needed -= set(weights.steps[1:])
        _check_strip(self.strip, record.steps, needed)
        return self


def _check_strip(strip: str, steps: int, needed: Iterable[int]) -> None:
    if len(strip) != steps:
        raise ValueError(f"strip should be for {steps} steps, got {len(strip)}")
    skipped = [step for step in sorted(needed) if strip[step] == "."]
    if skipped:
        raise ValueError(f"strip should compute step {skipped[0]}, which nothing can estimate")
