"""Find the sparsest plan whose quality can be promised, by runs of it on many prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from skipstone.schedules.plan import Plan, Validation
from skipstone.schedules.promise import (
    USUAL_SHARE,
    Goal,
    Metric,
    Promise,
    check_enough,
    failures_allowed,
    prompts_needed,
)


@dataclass(frozen=True)
class Shown:
    """What a run of a plan shows, for each of its prompts.

    Args:
        values: by the metric.
        psnr: in dB.
        deviations: as of `RunStats`; empty if not known.
    """

    values: tuple[float, ...]
    psnr: tuple[float, ...]
    deviations: tuple[float, ...]


class Trial(Protocol):
    """A call of the pipeline whose noise no plan was made from or chosen by; it can be repeated."""

    @property
    def prompts(self) -> int:
        """How many prompts it has."""

    @property
    def is_ready(self) -> bool:
        """Whether its uncached run was made."""

    def prepare(self, title: str) -> None:
        """Make its uncached run, with a title for the progress bar."""

    def known(self, plan: Plan, metric: Metric) -> Shown | None:
        """What an earlier run of a plan has shown; None if there was none."""

    def run(self, plan: Plan, metric: Metric, title: str) -> Shown:
        """Run a plan and compare with the uncached run."""


class Calibration:
    """Run plans of rising density on prompts until so few miss a quality that it can be promised.

    A plan is left as soon as one prompt too many has missed it. Prompts that missed it are run first on the
    next plan, so most plans cost one run. Which plan is taken does not depend on that order.

    Source: conformal risk control, arXiv:2208.02814.
    Difference: a prompt counts as missed where it misses at the plan itself, not also where it misses at a
    denser one, which would have to be run to know; docs/planned.md has how often that happens.

    Args:
        goal: the quality.
        share: of the prompts that it is promised to; None for the usual one if there are enough prompts.
        trials: the prompts.

    Raises:
        ValueError: there are too few prompts for the share; the message says how many are needed.
    """

    def __init__(self, goal: Goal, share: float | None, trials: Sequence[Trial]) -> None:
        self._goal = goal
        self._trials = list(trials)
        self._numbers = {id(trial): number for number, trial in enumerate(trials, 1)}
        self._prompts = sum(trial.prompts for trial in trials)
        if share is not None:
            check_enough(self._prompts, share)
        enough = self._prompts >= prompts_needed(USUAL_SHARE)
        self._share = share if share is not None else USUAL_SHARE if enough else None
        self._allowed = 0 if self._share is None else failures_allowed(self._prompts, self._share)
        self._runs = 0

    def sparsest(self, plans: Sequence[Plan]) -> Plan:
        """The first plan that the promise can be made of, with what was measured.

        Args:
            plans: from few computed steps to many, chosen before anything is measured.

        Raises:
            ValueError: it can be made of no plan that skips a step.
        """
        missed = 0
        for plan in plans:
            shown, missed = self._tried(plan)
            if missed <= self._allowed:
                return self._promised(plan, [shown[id(trial)] for trial in self._in_order])
        if not plans:
            raise ValueError("no step can be skipped, so there is nothing to promise: compute every step")
        raise ValueError(
            f"{self._goal} cannot be promised: {missed} or more of {self._prompts} prompts miss it with "
            f"{plans[-1].computed} of {len(plans[-1].strip)} steps computed"
        )

    def _tried(self, plan: Plan) -> tuple[dict[int, Shown], int]:
        """What a plan shows, and how many prompts miss the quality, up to the first too many."""
        shown: dict[int, Shown] = {}
        missed = 0
        for trial in list(self._trials):
            shown[id(trial)] = one = self._shown(trial, plan, len(shown))
            failures = sum(not self._goal.is_kept(value) for value in one.values)
            missed += failures
            if failures:
                self._trials.remove(trial)
                self._trials.insert(0, trial)
            if missed > self._allowed:
                break
        return shown, missed

    def _shown(self, trial: Trial, plan: Plan, before: int) -> Shown:
        known = trial.known(plan, self._goal.metric)
        if known is not None:
            return known
        left = len(self._trials) - before + sum(not one.is_ready for one in self._trials)
        least, where = self._runs + left, f"prompt {self._numbers[id(trial)]} of {len(self._trials)}"
        if not trial.is_ready:
            trial.prepare(self._title(least, "uncached", where))
        steps = f"{plan.computed} of {len(plan.strip)} steps"
        return trial.run(plan, self._goal.metric, self._title(least, steps, where))

    def _title(self, least: int, what: str, where: str) -> str:
        self._runs += 1
        return f"run {self._runs} of {least} or more: {what}, {where}"

    @property
    def _in_order(self) -> list[Trial]:
        return sorted(self._trials, key=lambda trial: self._numbers[id(trial)])

    def _promised(self, plan: Plan, shown: Sequence[Shown]) -> Plan:
        values = tuple(value for one in shown for value in one.values)
        psnr = tuple(value for one in shown for value in one.psnr)
        deviations = tuple(value for one in shown for value in one.deviations)
        own = Validation(plan.recipe, plan.computed, psnr, deviations)
        return replace(plan, promise=Promise(self._goal, self._share, values), validations=(own,))
