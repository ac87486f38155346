"""Find a plan for a user's target; if possible, candidates run on the recorded prompts."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from reprlib import repr as shortly
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Le

from skipstone.declared import Declared, Positive, check
from skipstone.schedules.best_steps import MOST_STEPS
from skipstone.schedules.calibration import Calibration, Trial
from skipstone.schedules.expectation import expected_speedup
from skipstone.schedules.moments import Floats
from skipstone.schedules.plan import Plan, Validation, make_plan, make_plans
from skipstone.schedules.profile import Profile
from skipstone.schedules.promise import Goal, Metric, PromisedShare, budgets
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.strips import fewest, strip_of

GUIDED_WEIGHTS = "guided residual"

RECIPES = (Recipe(GUIDED_WEIGHTS), Recipe(), Recipe(GUIDED_WEIGHTS, power=1), Recipe(power=1))
"""Candidate recipes; the first one that a record has the matrix for is the usual one."""

REUSED_BELOW = 35.0
"""PSNR in dB to expect below which the last computed step is reused as it is.

A run departs so far from the recorded one there that weights fitted to that one mislead. Chosen on eight of
nine proving models with their own solver and guidance, in turn, it comes out as 33 to 38, mostly as 35. By
double guidance and other solvers it would be 39, where plans of 28 steps lose up to 4 dB with a model's own.
"""

SETTLED_FROM = 28.0
"""PSNR in dB to expect below which gaps are not settled: computed steps show other errors there."""

MARGIN = 3.0
"""How many dB a candidate must be better than the default on a single prompt, which says little of others."""

HIGHEST = 100.0
"""PSNR in dB above which runs are not compared: they are equal."""

MOVES = 3
"""The most steps by which refining moves a computed step at once."""


@dataclass(frozen=True)
class Judgement:
    """The result of a plan's run on the recorded prompts with other noise.

    Args:
        psnr: the PSNR of each prompt against its uncached run, in dB.
        skip_cost: the time of a skipped evaluation, as a share of a computed one; None if it was not
            measured.
        deviations: of each prompt, as of `RunStats`; empty if not known.
    """

    psnr: tuple[float, ...]
    skip_cost: float | None = None
    deviations: tuple[float, ...] = ()


class Judge(Protocol):
    """Run plans on the recorded prompts, with other noise than recorded."""

    def __call__(self, plan: Plan) -> Judgement:
        """Run a plan once, and compare with the uncached run."""

    def joined(self, other: "Judge") -> "Judge":
        """A judge that uses the prompts of both."""

    def trials(self, prompts: Sequence[str] | None) -> Sequence[Trial]:
        """Calls with yet another noise, one for each of these prompts; None for the recorded ones."""


Speedup = Annotated[float, Ge(1), Le(MOST_STEPS)]
"""How many times faster than computing every step: of the most steps that are planned, one is computed."""


@dataclass(frozen=True)
class Target(Declared):
    """A plan's target; exactly one of these is given, and a share only with a quality.

    Args:
        speedup: how many times faster than computing every step, above 1.
        computed: how many steps to compute, from 1.
        quality: the least PSNR in dB.
        ssim: the least SSIM.
        lpips: the most LPIPS.
        share: of the prompts that keep the quality, above 0.5 and below 1.

    Raises:
        ValueError: not exactly one is given, a speedup below 1, or a share without a quality.
    """

    speedup: Speedup | None = None
    computed: Positive | None = None
    quality: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    share: PromisedShare | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        targets = (self.speedup, self.computed, self.quality, self.ssim, self.lpips)
        if sum(value is not None for value in targets) != 1:
            raise ValueError("give exactly one of speedup, computed, quality, ssim and lpips")
        if self.share is not None and self.goal is None:
            raise ValueError("a share is promised of a quality: give quality, ssim or lpips, or leave it out")

    @property
    def goal(self) -> Goal | None:
        """The quality to keep; None for a speed."""
        asked: dict[Metric, float | None] = {"psnr": self.quality, "ssim": self.ssim, "lpips": self.lpips}
        return next((Goal(metric, value) for metric, value in asked.items() if value is not None), None)

    def budget(self, record: Profile) -> int:
        """How many steps to compute; for a quality, with how many the candidates are compared.

        Raises:
            ValueError: the target cannot be reached; the message says what can.
        """
        least, steps = fewest(record), record.steps
        if self.speedup is not None:
            possible = expected_speedup(record, least)
            if self.speedup > possible:
                raise ValueError(
                    f"speedup {self.speedup:g} cannot be reached with {steps} steps, of which {least} must "
                    f"be computed; the best possible is {possible:.2f}"
                )
            speedup = self.speedup
            return min(
                range(least, steps + 1),
                key=lambda n: abs(steps / expected_speedup(record, n) - steps / speedup),
            )
        if self.computed is not None:
            if not least <= self.computed <= steps:
                raise ValueError(f"computed must be {least} to {steps} for this record, got {self.computed}")
            return self.computed
        return max(least, steps // 3)


def find(
    record: Profile,
    target: Target,
    refine: int = 0,
    judge: Judge | None = None,
    prompts: Sequence[str] | None = None,
) -> Plan:
    """Find the best plan for a target.

    Args:
        record: what is known of the model.
        target: the target.
        refine: how many more runs to spend on moving single steps.
        judge: runs the candidates; None to plan without runs.
        prompts: those that a quality is promised from; None for the recorded ones.

    Raises:
        ValueError: the target cannot be reached, it needs runs and there is no judge, or what is given does
            not go with it.
    """
    _check_together(target, refine, prompts)
    if judge is None:
        if target.goal is not None or refine:
            raise ValueError(
                "a quality and refining need runs of the pipeline, which a record from a file does not have: "
                "record again with skipstone.record"
            )
        return usual_plans(record, recipes_for(record)[0], [target.budget(record)])[0]
    trials = _Trials(record, judge)
    if target.goal is None:
        return trials.finished(trials.refined(trials.best(target), refine))
    calibration = Calibration(target.goal, target.share, judge.trials(prompts))
    best = trials.best(target)
    rising = list(budgets(fewest(record), record.steps - 1))
    plans = usual_plans(trials.record, best.recipe.weighing, rising)
    return trials.with_others(calibration.sparsest(plans))


def _check_together(target: Target, refine: int, prompts: Sequence[str] | None) -> None:
    """Refuse what does not go together."""
    if target.goal is not None and refine:
        raise ValueError("refining would change a plan whose quality was measured: leave refine out")
    if prompts is None:
        return
    if target.goal is None:
        raise ValueError("prompts promise a quality: give quality, ssim or lpips, or leave them out")
    check("prompts", prompts, list[str] | tuple[str, ...])
    twice = next((one for one in prompts if prompts.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"prompts has {shortly(twice)} twice: name each prompt once")


def recipes_for(record: Profile) -> list[Recipe]:
    """The candidates: those whose matrices were recorded, and the first without settling and as reuse."""
    found = [recipe for recipe in RECIPES if recipe.suits(record)]
    return [*found, found[0].unsettled, found[0].reusing]


def usual_plans(record: Profile, recipe: Recipe, computed: Sequence[int]) -> list[Plan]:
    """The plans to take without runs: of the recipe, and of plain reuse where that is expected to be far off.

    Args:
        record: what is known of the model.
        recipe: the recipe, which weighs several computed steps.
        computed: how many steps they compute, rising.
    """
    weighing, reusing = (make_plans(record, one, computed) for one in (recipe, recipe.reusing))
    return [_usual(*pair) for pair in zip(weighing, reusing, strict=True)]


def _usual(weighing: Plan, reusing: Plan) -> Plan:
    """The one of two plans to take, by the PSNR to expect."""
    psnr = weighing.expected_psnr
    if psnr is None or psnr >= REUSED_BELOW:
        return weighing
    return replace(reusing, recipe=reuse_instead(weighing))


def reuse_instead(weighing: Plan) -> Recipe:
    """How to reuse the last computed step, with as many steps as in a plan that weighs."""
    psnr, reusing = weighing.expected_psnr, weighing.recipe.reusing
    return reusing if psnr is None or psnr >= SETTLED_FROM else reusing.unsettled


class _Trials:
    """Run candidates, each once.

    Args:
        record: what is known of the model.
        judge: runs them.
    """

    def __init__(self, record: Profile, judge: Judge) -> None:
        self.record = record
        self._judge = judge
        self._done: dict[tuple[Recipe, str], Validation] = {}

    def best(self, target: Target) -> Plan:
        """The usual plan on the budget of a target, or that of another candidate that is surely better."""
        recipes = recipes_for(self.record)
        self.score(make_plan(self.record, recipes[0], target.budget(self.record)))
        budget = target.budget(self.record)
        (usual,) = usual_plans(self.record, recipes[0], [budget])
        others = (make_plan(self.record, recipe, budget) for recipe in recipes if recipe != usual.recipe)
        return max([usual, *(one for one in others if self._gain(one, usual) > 0)], key=self._mean)

    def _gain(self, plan: Plan, other: Plan) -> float:
        """By how many dB a plan is surely better: the mean over prompts less its standard error."""
        ours, theirs = self._compared(plan), self._compared(other)
        gains = ours - theirs
        doubt = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else MARGIN
        return float(gains.mean() - doubt)

    def _mean(self, plan: Plan) -> float:
        return float(self._compared(plan).mean())

    def _compared(self, plan: Plan) -> Floats:
        """The PSNR of each prompt, within what can be compared."""
        values: Floats = np.clip(np.array(self.run(plan).psnr), 0, HIGHEST)
        return values

    def refined(self, plan: Plan, runs: int) -> Plan:
        """Move single steps in some runs; keep only improvements."""
        chooser = random.Random(0)
        for _ in range(runs):
            moved = _moved(plan, chooser)
            if moved is not None and self.score(moved) > self.score(plan):
                plan = moved
        return plan

    def finished(self, plan: Plan) -> Plan:
        """The plan with all measurements, its own one last."""
        self.score(plan)
        own = self._done.pop((plan.recipe, plan.strip))
        return self.with_others(replace(plan, record=self.record, validations=(own,)))

    def with_others(self, plan: Plan) -> Plan:
        """The plan with the candidates' measurements before its own one."""
        return replace(plan, validations=(*self._done.values(), *plan.validations))

    def score(self, plan: Plan) -> float:
        """The PSNR of the worst prompt."""
        return self.run(plan).worst

    def run(self, plan: Plan) -> Validation:
        """What a run of the plan shows."""
        key = plan.recipe, plan.strip
        if key not in self._done:
            seen = self._judge(plan)
            self._done[key] = Validation(plan.recipe, plan.computed, seen.psnr, seen.deviations)
            if seen.skip_cost is not None:
                self.record = replace(self.record, skip_cost=seen.skip_cost)
        return self._done[key]


def _moved(plan: Plan, chooser: random.Random) -> Plan | None:
    """The plan with one computed step moved a little; None if that step cannot move."""
    computed = {step for step, mark in enumerate(plan.strip) if mark == "#"}
    movable = {step for moments in plan.weights.values() for step in moments.steps[1:]}
    step = chooser.choice(sorted(computed))
    to = step + chooser.choice([n for n in range(-MOVES, MOVES + 1) if n])
    if step not in movable or to in computed or not 0 <= to < len(plan.strip):
        return None
    strip = strip_of(computed - {step} | {to}, len(plan.strip))
    return replace(plan, strip=strip)
