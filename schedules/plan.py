"""A plan: which steps to compute, and how to estimate the others."""

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import skipstone.pictures as pictures
import skipstone.plotting as plotting
from skipstone.disk import hub
from skipstone.schedules import card, files
from skipstone.schedules.expectation import SAFE, estimated_psnr, expected_speedup, seen_at
from skipstone.schedules.importance import Prediction
from skipstone.schedules.moments import Moments
from skipstone.schedules.profile import GUIDED, OUTPUT, RESIDUAL, Profile
from skipstone.schedules.promise import Promise
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.settling import SHARES, Settlement, settlement, solver_effects
from skipstone.schedules.strips import best_strips, fewest

UNSAFE = 0.5
"""If no skipped step has an expected relative error below this, no step should be skipped."""

MOST_PSNR = 60.0
"""PSNR in dB above which a curve does not go on: nobody sees a difference."""

NO_SAFE_SKIPS = "no safe skips: the steps are too unlike each other to be estimated"


@dataclass(frozen=True)
class Validation:
    """A run of a plan on the recorded prompts, with other noise than recorded.

    Args:
        recipe: how the plan was made.
        computed: how many steps it computed.
        psnr: the PSNR of each prompt against its uncached run, in dB; infinite if they are identical.
        deviations: of each prompt, as of `RunStats`; empty if not known.
    """

    recipe: Recipe
    computed: int
    psnr: tuple[float, ...]
    deviations: tuple[float, ...] = ()

    @property
    def worst(self) -> float:
        return min(self.psnr)


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The steps of a run that are computed, and what their choice is based on.

    Args:
        record: what the plan was made from; the weights come from it too.
        recipe: how the plan was made.
        strip: one character for each step, ``#`` computed and ``.`` skipped.
        validations: the runs of this plan and of other candidates, its own last.
        promise: the quality that a calibration promises; None without one.
        origin: the plan's address on the hub; empty for one that is not from there.
    """

    record: Profile
    recipe: Recipe
    strip: str
    validations: tuple[Validation, ...] = ()
    promise: Promise | None = None
    origin: str = ""

    @property
    def computed(self) -> int:
        """How many steps it computes."""
        return self.strip.count("#")

    @property
    def speedup(self) -> float:
        """The expected speedup against computing every step."""
        return expected_speedup(self.record, self.computed)

    @property
    def validated(self) -> Validation | None:
        """The run of this plan; None if there was none."""
        return self.validations[-1] if self.validations else None

    @property
    def deviations(self) -> tuple[float, ...]:
        """Those of recorded runs of this plan, one for each prompt; empty if there were none."""
        return () if self.validated is None else self.validated.deviations

    @cached_property
    def expected_psnr(self) -> float | None:
        """The mean PSNR in dB to expect: measured on the recorded prompts, else estimated from the record."""
        if self.validated is not None:
            return sum(self.validated.psnr) / len(self.validated.psnr)
        return self._estimate

    @cached_property
    def safe(self) -> "Plan | None":
        """The fastest plan whose skips hardly show, of the same matrices; None if every one shows.

        Where this plan was measured, the others are expected to be as far from their estimate.
        """
        estimate = self._estimate
        if estimate is None or self.expected_psnr is None:
            return None
        off = self.expected_psnr - estimate if math.isfinite(self.expected_psnr) else 0.0
        recipe = self.recipe.weighing
        strips = best_strips(self.record, recipe, range(self.computed, len(self.strip)))
        at = bisect_left(
            strips, SAFE - off, key=lambda strip: estimated_psnr(self.record, strip) or -math.inf
        )
        return Plan(self.record, recipe, strips[at]) if at < len(strips) else None

    @property
    def outlook(self) -> str:
        """The quality to expect in words, and the speed whose skips hardly show; empty if unknown."""
        if self.expected_psnr is None:
            return ""
        how = "measured" if self.validated else "roughly estimated"
        line = f"expect {seen_at(self.expected_psnr)}, PSNR about {self.expected_psnr:.0f} dB ({how})"
        if self.expected_psnr >= SAFE:
            return line
        if self.safe is None:
            return f"{line}; no speed keeps {SAFE:g} dB"
        return f"{line}; {self.safe.speedup:.1f}x ({self.safe.computed} steps) keeps about {SAFE:g} dB"

    @cached_property
    def weights(self) -> dict[str, Moments]:
        """For each model the moments from which its weights come."""
        return {model: self.record.recorded(model, self.recipe.weights) for model in self.record.models}

    @property
    def is_safe(self) -> bool:
        """Whether at least one skipped step could be estimated well, by weights that fit residuals."""
        best = replace(self, recipe=replace(self.recipe.weighing, weights=RESIDUAL))
        skipped = [error for error in best.expected_errors() if error is not None]
        return not skipped or min(skipped) <= UNSAFE

    @cached_property
    def _residuals(self) -> dict[str, Moments]:
        return {model: self.record.recorded(model, RESIDUAL) for model in self.record.models}

    def expected_error(self, model: str, step: int, anchors: Sequence[int]) -> float:
        """The expected error of an estimate of a model's residual, relative to the residual.

        Args:
            model: the model.
            step: the estimated step.
            anchors: the computed steps of the estimate, newest first.
        """
        return self._residuals[model].error(step, anchors, self.weights_for(model, step, anchors))

    def weights_for(self, model: str, step: int, anchors: Sequence[int]) -> Sequence[float]:
        """The weights of a model's residuals on some computed steps, to estimate the one on another step.

        Args:
            model: the model.
            step: the estimated step.
            anchors: the computed steps of the estimate, newest first.
        """
        if self.recipe.anchors == 1:
            return [1.0, *[0.0] * (len(anchors) - 1)]
        return self.weights[model].weights(step, anchors)

    def settlement(
        self, model: str, step: int, prediction: Prediction, end: float = 0.0
    ) -> Settlement | None:
        """How a computed step settles the gap before it; None if it does not.

        Args:
            model: the model.
            step: a step that the plan computes.
            prediction: what the solver takes outputs for.
            end: the flow time at which the run ends.
        """
        outputs, anchors = self._outputs[model], self.anchors(model, step)
        if outputs is None or not self.recipe.settles or not anchors or anchors[0] == step - 1:
            return None
        needed = {*anchors, *range(anchors[0] + 1, step + 1)}
        if not needed <= {*outputs.steps} & {*self.weights[model].steps}:
            return None
        weigh = functools.partial(self.weights_for, model, anchors=anchors)
        effects = solver_effects(self.record.levels, prediction, end)
        return settlement(outputs, anchors, step, weigh, effects, SHARES[self.recipe.anchors])

    def anchors(self, model: str, step: int) -> list[int]:
        """The computed steps of a model that estimates on a step come from, newest first."""
        before = [known for known in self.weights[model].steps if known < step and self.strip[known] == "#"]
        return before[::-1][: self.recipe.anchors]

    @cached_property
    def _outputs(self) -> dict[str, Moments | None]:
        """For each model the moments of what a solver gets."""
        find = self.record.matrix
        return {
            model: find(model, f"{GUIDED} {OUTPUT}") or find(model, OUTPUT) for model in self.record.models
        }

    def expected_errors(self) -> list[float | None]:
        """The expected error of each step's estimate, relative to the residual; None for computed steps."""
        errors: list[float | None] = [None] * len(self.strip)
        for model, moments in self.weights.items():
            anchors: list[int] = []
            for step in moments.steps:
                if self.strip[step] == "#":
                    anchors = [step, *anchors[: self.recipe.anchors - 1]]
                else:
                    errors[step] = self.expected_error(model, step, anchors)
        return errors

    @cached_property
    def _estimate(self) -> float | None:
        """What a plan that weighs several computed steps leads to expect, with as many of them."""
        strip = self.strip
        if self.recipe.anchors == 1:
            (strip,) = best_strips(self.record, self.recipe.weighing, [self.computed])
        return estimated_psnr(self.record, strip)

    def for_levels(self, levels: Sequence[float]) -> "Plan":
        """This plan for a run with other noise levels or another number of steps, with the same computed
        share.

        Raises:
            ValueError: the record does not serve so many steps.
        """
        if len(levels) == self.record.steps and np.allclose(levels, self.record.levels, atol=1e-4):
            return self
        record = self.record.resampled(levels)
        computed = max(fewest(record), round(self.computed * len(levels) / len(self.strip)))
        return replace(make_plan(record, self.recipe, computed), origin=self.origin)

    def curve(self) -> list[tuple[float, float]]:
        """The speedup and the PSNR in dB to expect, for every number of computed steps; empty if unknown.

        Steps are added until nobody sees a difference.
        """
        least = fewest(self.record)
        strips = best_strips(self.record, self.recipe.weighing, range(least, len(self.strip)))
        found = [
            (expected_speedup(self.record, strip.count("#")), estimated_psnr(self.record, strip))
            for strip in strips
        ]
        return [(speedup, psnr) for speedup, psnr in found if psnr is not None and psnr < MOST_PSNR]

    def plot(self, axes: Any = None) -> Any:
        """Plot the quality to expect at each speed, with this plan marked; return the axes.

        Args:
            axes: of matplotlib; None for those of a new figure.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: the record does not tell what quality to expect.
        """
        if self.expected_psnr is None:
            raise ValueError("the record has no outputs, so no quality can be expected: record again")
        on = plotting.axes(axes, 4)
        mark = (self.speedup, min(self.expected_psnr, MOST_PSNR))
        plotting.plot_curve(on, self.curve(), mark, f"{self.computed} of {len(self.strip)} steps computed")
        return on

    def __repr__(self) -> str:
        return f"{self._title}\n{self.strip}"

    def _repr_html_(self) -> str:
        psnr = self.expected_psnr
        drawn = "" if psnr is None else pictures.curve(
            self.curve(), (self.speedup, min(psnr, MOST_PSNR)), "x faster", "PSNR to expect, dB"
        )  # fmt: skip
        said = [self._basis, self._trial] + ([] if self.promise is None else [str(self.promise)])
        return pictures.card(self._title, [pictures.strip(self.strip), drawn], {}, said)

    @property
    def _title(self) -> str:
        words = f"plan: {self.computed} of {len(self.strip)} steps computed, about {self.speedup:.2f}x faster"
        return f"{words}; {self.outlook}" if self.outlook else words

    def explain(self) -> str:
        """The plan in words: its strip, its expected errors and speed, and its measured quality."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        errors = self.expected_errors()
        skipped = [error for error in errors if error is not None]
        lines = [
            self.strip,
            f"{self.computed} of {len(self.strip)} steps computed, expected speedup {self.speedup:.2f}x",
            self._basis,
        ]
        if skipped:
            most = max(skipped)
            digits = "".join("#" if e is None else str(min(9, int(10 * e / (most or 1)))) for e in errors)
            lines[1:1] = [digits]
            lines.append(
                f"digits: expected errors of the skipped residuals; 9 is {100 * most:.2g}% of their size"
            )
        if not self.is_safe:
            lines.append(NO_SAFE_SKIPS)
        promise = "" if self.promise is None else self.promise.explain()
        return [*lines, self._trial, *filter(None, [self.outlook, promise])]

    @property
    def _basis(self) -> str:
        return f"{self.recipe}, recorded from {_counted(self.record.prompts, 'prompt')}"

    @property
    def _trial(self) -> str:
        if self.validated is None:
            return "not validated: the pipeline was not at hand"
        return f"validated: PSNR {self.validated.worst:.1f} dB on the worst prompt, with other noise"

    def summary(self) -> dict[str, Any]:
        """The plan's main facts as plain values; the infinite PSNR of identical outputs is None."""
        psnr = None if self.validated is None else self.validated.worst
        return {
            "strip": self.strip,
            "computed": self.computed,
            "steps": len(self.strip),
            "speedup": self.speedup,
            "expected_errors": self.expected_errors(),
            "psnr_expected": _finite(self.expected_psnr),
            "psnr_worst": _finite(psnr),
            "recipe": asdict(self.recipe),
            "is_safe": self.is_safe,
            "promise": None if self.promise is None else self.promise.summary(),
        }

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "record": self.record.as_dict(),
            "recipe": asdict(self.recipe),
            "strip": self.strip,
            "promise": None if self.promise is None else asdict(self.promise),
            "validations": [
                {**asdict(one), "psnr": list(map(_finite, one.psnr)), "deviations": list(one.deviations)}
                for one in self.validations
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file."""
        files.write(path, "plan", self.as_dict())

    def push_to_hub(self, repo: str, *, name: str, private: bool = False) -> str:
        """Share the plan on the Hugging Face hub; others load it by ``load_plan("OWNER/REPOSITORY/NAME")``.

        The repository's card gets a section with the plan's strip, its measured quality, its promise and what
        it was made for, names of adapters among it.

        Args:
            repo: the repository, such as ``me/plans``; it is made if there is none.
            name: the plan's name in it; a plan of that name is replaced.
            private: whether a new repository is closed to others.

        Returns:
            The address of the commit.

        Raises:
            ValueError: a name that is none, no right to the repository, or no connection.
        """
        address = f"{repo}/{name}"
        repo, name = hub.checked_address(address)

        def contents(present: str) -> dict[str, str]:
            described = card.with_plan(present, address, self.explain(), self.record.made_for)
            return {f"{name}.json": files.text_of("plan", self.as_dict()), hub.CARD: described}

        return hub.push(repo, contents, f"Add the plan {name}", private)


def make_plan(record: Profile, recipe: Recipe, computed: int) -> Plan:
    """Make the best plan with a number of computed steps, by one recipe.

    Args:
        record: what is known of the model.
        recipe: how to plan.
        computed: how many steps to compute, from `fewest` to all.
    """
    return make_plans(record, recipe, [computed])[0]


def make_plans(record: Profile, recipe: Recipe, computed: Sequence[int]) -> list[Plan]:
    """`make_plan` for several numbers of computed steps, rising."""
    strips = best_strips(record, recipe, computed) if computed else ()
    return [Plan(record, recipe, strip) for strip in strips]


def _finite(psnr: float | None) -> float | None:
    return psnr if psnr is not None and math.isfinite(psnr) else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
