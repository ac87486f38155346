"""What one uncached run shows of a model: enough to predict the errors of every schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import skipstone.pictures as pictures
from skipstone.schedules import files
from skipstone.schedules.importance import step_importance
from skipstone.schedules.moments import Floats, Moments, mean_moments

RESIDUAL, OUTPUT, GUIDED = "residual", "output", "guided"

STEP_RANGE = (0.5, 2.0)
"""A record serves runs with this least and most share of its steps."""


P = TypeVar("P", bound="Profile")


class Quantity(NamedTuple):
    """A quantity that has moments.

    Args:
        model: the model's name in the pipeline.
        branch: the guidance branch, or ``guided`` for the combination ``g * cond - (g - 1) * uncond``.
        name: ``residual``, which is estimated on skipped steps, or ``output``, which the model returned.
    """

    model: str
    branch: str
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    """The second moments of one uncached run, and what it was made for.

    Args:
        made_for: plain values that describe the pipeline and the kind of run.
        levels: the share of noise in the model's input on each step of the run, as flow time,
            falling.
        moments: how similar each quantity is on any two steps.
        prompts: how many samples the moments are the mean of.
        skip_cost: the time of a skipped evaluation, as a share of a computed one; 0 if it was not measured.
    """

    made_for: Mapping[str, Any]
    levels: tuple[float, ...]
    moments: Mapping[Quantity, Moments]
    prompts: int = 1
    skip_cost: float = 0.0

    @property
    def steps(self) -> int:
        """How many steps the run had."""
        return len(self.levels)

    def importance(self, power: int) -> Floats:
        """The weight of each step's squared error, 1 on average, by a power of the step's length."""
        return step_importance(self.levels, self.made_for.get("prediction", "flow"), power)

    @property
    def models(self) -> list[str]:
        """The models that the run called, in the order of their steps."""
        first = {quantity.model: part.steps[0] for quantity, part in self.moments.items()}
        return sorted(first, key=lambda model: first[model])

    def matrix(self, model: str, name: str) -> Moments | None:
        """The moments that plans are made from; None if they were not recorded.

        Args:
            model: the model.
            name: ``residual`` or ``output`` for the mean over branches; ``guided residual`` or ``guided
                output`` for what guidance makes of the branches.
        """
        guided = name.startswith(f"{GUIDED} ")
        quantity = name.removeprefix(f"{GUIDED} ")
        parts = [
            part
            for (owner, branch, kind), part in self.moments.items()
            if owner == model and kind == quantity and (branch == GUIDED) == guided
        ]
        most = max(parts, key=lambda part: len(part.steps), default=None)
        if most is None:
            return None
        alike = [part for part in parts if part.steps == most.steps]
        return mean_moments(alike, [1.0] * len(alike))

    def recorded(self, model: str, name: str) -> Moments:
        """The same moments, where a plan cannot be without them.

        Raises:
            ValueError: they were not recorded.
        """
        moments = self.matrix(model, name)
        if moments is None:
            raise ValueError(f"the record has no {name} of {model}")
        return moments

    def resampled(self: P, levels: Sequence[float]) -> P:
        """The profile of a run with other noise levels, interpolated between its own.

        Raises:
            ValueError: the number of steps is outside `STEP_RANGE`.
        """
        least, most = (round(share * self.steps) for share in STEP_RANGE)
        if not least <= len(levels) <= most:
            raise ValueError(
                f"a record of {self.steps} steps serves runs of {least} to {most}, this one has "
                f"{len(levels)}: record again with {len(levels)} steps, as in "
                f"skipstone plan PROMPT --steps {len(levels)}"
            )
        moments = {key: part.resampled(self.levels, levels) for key, part in self.moments.items()}
        return replace(self, levels=tuple(levels), moments=moments)

    def __repr__(self) -> str:
        return f"{self._title}\nplan with it: record.plan(speedup=2.0), or computed=..., or quality=... in dB"

    def _repr_html_(self) -> str:
        moments = {" ".join(key): f"{len(part.steps)} steps" for key, part in self.moments.items()}
        return pictures.card(self._title, [], moments)

    @property
    def _title(self) -> str:
        names = {model: facts.get("class", model) for model, facts in self.made_for.get("models", {}).items()}
        models = ", ".join(str(names.get(model, model)) for model in self.models)
        prompts = f"{self.prompts} prompt" + "s" * (self.prompts != 1)
        return f"record of {self.steps} steps of {models}, from {prompts}"

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values."""
        return {
            "made_for": dict(self.made_for),
            "levels": list(self.levels),
            "prompts": self.prompts,
            "skip_cost": self.skip_cost,
            "moments": [
                {
                    **key._asdict(),
                    "steps": list(part.steps),
                    "scale": part.scale,
                    "gram": [float(f"{value:.9g}") for value in part.gram[np.tril_indices(len(part.gram))]],
                }
                for key, part in self.moments.items()
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write the record to a JSON file."""
        files.write(path, "record", self.as_dict())
