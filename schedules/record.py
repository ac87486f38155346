"""What one uncached run shows of a model: enough to know what every schedule would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skipstone.schedules import files
from skipstone.schedules.moments import Floats, Moments, mean_moments

if TYPE_CHECKING:
    from skipstone.schedules.plan import Plan
    from skipstone.schedules.search import Judge

RESIDUAL, OUTPUT, GUIDED, STEERED = "residual", "output", "guided", "steered residual"

STEERING = 0.1
"""How much the error of the guided residual counts beside those of the branches in ``steered residual``."""

STEP_RANGE = (0.5, 2.0)
"""Of a record's steps, how few and how many a run may have that is planned by it."""


class Quantity(NamedTuple):
    """What moments are of.

    Args:
        model: the pipeline's name of it.
        branch: the guidance branch, or ``guided`` for the combination ``g * cond - (g - 1) * uncond``.
        name: ``residual``, what is estimated on skipped steps, or ``output``, what the model returned.
    """

    model: str
    branch: str
    name: str


@dataclass(frozen=True, eq=False)
class Record:
    """The second moments of one uncached run, and what it was made for.

    Args:
        made_for: plain values that say for what pipeline and what kind of run.
        levels: the share of noise in the model's input at each of the run's steps, falling.
        moments: how alike each quantity is at any two steps.
        prompts: how many samples they are the mean of.
        skip_cost: what a skipped evaluation costs of a computed one; 0 where it was not measured.
        judge: runs a plan on the recorded prompts with other noise and compares; None for a record from a
            file.
    """

    made_for: Mapping[str, Any]
    levels: tuple[float, ...]
    moments: Mapping[Quantity, Moments]
    prompts: int = 1
    skip_cost: float = 0.0
    judge: "Judge | None" = None

    @property
    def steps(self) -> int:
        """How many steps the run had."""
        return len(self.levels)

    @property
    def models(self) -> list[str]:
        """The models that were called, in the order of their steps."""
        first = {quantity.model: part.steps[0] for quantity, part in self.moments.items()}
        return sorted(first, key=lambda model: first[model])

    def matrix(self, model: str, name: str) -> Moments | None:
        """The moments of a model that plans are made from, None where they were not recorded.

        Args:
            model: the model.
            name: ``residual`` or ``output``, the mean over branches; either of them as in ``guided
                residual``, what guidance makes of the branches; or ``steered residual``, the branches and
                `STEERING` times what guidance makes of them, where it is on.
        """
        if name == STEERED:
            return self._steered(model)
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

    def _steered(self, model: str) -> Moments | None:
        residual, guided = self.matrix(model, RESIDUAL), self.matrix(model, f"{GUIDED} {RESIDUAL}")
        if residual is None or guided is None or guided.steps != residual.steps:
            return residual
        return replace(residual, gram=residual.gram + STEERING * guided.gram)

    def add(self, other: "Record") -> "Record":
        """This record with another prompt's, as if both had been recorded in one batch.

        Raises:
            ValueError: the other one was made for another kind of run.
        """
        differing = [key for key in self.made_for if self.made_for[key] != other.made_for.get(key)]
        if differing or self.moments.keys() != other.moments.keys():
            raise ValueError(f"the records differ in {', '.join(differing) or 'what was called'}")
        counts = [self.prompts, other.prompts]
        joined = {key: mean_moments([part, other.moments[key]], counts) for key, part in self.moments.items()}
        judges = [judge for judge in (self.judge, other.judge) if judge is not None]
        judge = None if len(judges) < 2 else judges[0].joined(judges[1])
        return replace(self, moments=joined, prompts=sum(counts), judge=judge)

    def resampled(self, levels: Sequence[float]) -> "Record":
        """The record as it would be of a run with other noise levels, interpolated between its own.

        Raises:
            ValueError: the number of steps is outside `STEP_RANGE`.
        """
        least, most = (round(share * self.steps) for share in STEP_RANGE)
        if not least <= len(levels) <= most:
            raise ValueError(
                f"a record of {self.steps} steps serves runs of {least} to {most}, this one has "
                f"{len(levels)}: record again"
            )
        moments = {key: part.resampled(self.levels, levels) for key, part in self.moments.items()}
        return replace(self, levels=tuple(levels), moments=moments, judge=None)

    def plan(
        self,
        *,
        speedup: float | None = None,
        computed: int | None = None,
        quality: float | None = None,
        refine: int = 0,
    ) -> "Plan":
        """The best plan for a speed, a number of computed steps, or a quality.

        Plans from a few matrices and weightings are compared on the recorded prompts with other noise, where
        the pipeline is at hand, and one that is clearly better than the usual one is kept.

        Args:
            speedup: how many times faster than computing every step, above 1.
            computed: how many steps are computed, from 1.
            quality: PSNR in dB against the uncached run that the worst recorded prompt must reach with other
                noise, with as few computed steps as possible.
            refine: how many runs to spend on moving single steps; only what measures better is kept.

        Raises:
            ValueError: not exactly one of the three is given, or it cannot be reached; the message says what
                can.
        """
        from skipstone.schedules.search import Target, find

        return find(self, Target(speedup, computed, quality), refine)

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values; `judge` is left out."""
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


def load_record(path: str | Path) -> Record:
    """Read a record.

    Raises:
        ValueError: the file is no record, is damaged, or was written by a newer skipstone.
    """
    return files.load(path, "record", record_from)


def record_from(content: Mapping[str, Any]) -> Record:
    """A record from its plain values.

    Raises:
        ValueError, KeyError, TypeError: they are not those of a record.
    """
    levels = tuple(float(level) for level in content["levels"])
    moments = {
        Quantity(one["model"], one["branch"], one["name"]): _moments_from(one, len(levels))
        for one in content["moments"]
    }
    if not moments:
        raise ValueError("no moments")
    prompts, skip_cost = int(content["prompts"]), float(content["skip_cost"])
    return Record(dict(content["made_for"]), levels, moments, prompts, skip_cost)


def _moments_from(content: Mapping[str, Any], count: int) -> Moments:
    steps = tuple(int(step) for step in content["steps"])
    if list(steps) != sorted(set(steps)) or not steps or not 0 <= steps[0] <= steps[-1] < count:
        raise ValueError(f"steps {steps} in a run of {count}")
    gram: Floats = np.zeros((len(steps), len(steps)))
    gram[np.tril_indices(len(steps))] = content["gram"]
    gram = gram + np.tril(gram, -1).T
    if not np.isfinite(gram).all() or np.linalg.eigvalsh(gram)[0] < -1e-6 * np.trace(gram):
        raise ValueError("the moments are those of no quantity")
    return Moments(steps, gram, float(content["scale"]))
