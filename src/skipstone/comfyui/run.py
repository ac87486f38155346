"""One run of a sampler: each condition is a branch, and whole outputs of the model are estimated."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Outcome, Probe, Reason, RunFacts, Site, Step
from skipstone.comfyui.conditions import Condition, conditions_of, layout_of, parts_of, together
from skipstone.comfyui.contract import DIFFUSION_MODEL, Executor, Sampling, call_options
from skipstone.comfyui.noise_levels import raw_output, step_at, steps_of
from skipstone.pipelines.evaluations.base import Branch
from skipstone.pipelines.evaluations.output import OutputEvaluation
from skipstone.pipelines.evaluations.sites import Placement
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.model.outputs import floats_in
from skipstone.pipelines.run.stats import LogEntry, RunLog
from skipstone.pipelines.run.stopwatch import Mark
from skipstone.schedules.profile import GUIDED

WHOLE_OUTPUT = Placement(Site.OUTPUT, Probe.NONE)

WITH_OTHERS = "another condition of its batch had to be computed"
NOT_TOLD_APART = "its conditions cannot be told apart"
NOT_DIVIDED = "the model's output is not one part for each condition, so it was computed"

MethodFor = Callable[[RunFacts], Cacher[Any]]
"""Chooses the method of a run, whose facts have the `SamplerRun` as their key."""


@dataclass(frozen=True)
class Prediction:
    """One prediction for all conditions: its step, and how often the step was visited by then, from 1."""

    step: Step
    visit: int


class SamplerRun:
    """Stand between a sampler and its model during one run.

    Args:
        sampling: what is sampled.
        method_for: chooses what it is made with.
    """

    def __init__(self, sampling: Sampling, method_for: MethodFor) -> None:
        self.sampling = sampling
        self._levels = sampling.patcher.get_model_object("model_sampling")
        self.steps = steps_of(sampling.sigmas, self._levels)
        self.method = method_for(self._facts())
        self.log = RunLog({DIFFUSION_MODEL: self.method}, planned_steps=len(self.steps))
        self._branches: dict[Hashable, Branch[Any]] = {}
        self._names: dict[Condition, str] = {}
        self._visits: Counter[int] = Counter()
        self._at: Prediction | None = None
        self._seen: set[Condition] = set()
        self._alike: set[Condition] = set()
        self.ended = False

    def _facts(self) -> RunFacts:
        guidance = getattr(self.sampling.guider, "cfg", None)
        scales = {"guidance_scale": float(guidance)} if isinstance(guidance, (int, float)) else {}
        noise = self.sampling.noise
        return RunFacts(self.steps, tuple(noise.shape[1:]), str(noise.dtype), scales, key=self)

    def predict(self, executor: Executor, latents: Any, sigma: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One prediction for all conditions."""
        level = float(sigma.flatten()[0])
        step = step_at(self.steps, level)
        self._visits[step.index] += 1
        self._seen.clear()
        self._at = Prediction(step, self._visits[step.index])
        try:
            denoised = executor(latents, sigma, *args, **kwargs)
        finally:
            self._at = None
        if self._is_recorded and isinstance(denoised, Tensor):
            self._record_guided(step, raw_output(self._levels, level, latents, denoised))
        return denoised

    def call(self, executor: Executor, *args: Any, **kwargs: Any) -> Any:
        """One call of the model; the estimated output where the method skips it."""
        at = self._at
        if at is None:
            return executor(*args, **kwargs)
        given = self._told_apart(conditions_of(call_options(args, kwargs), at.visit))
        device = next(floats_in(args)).device
        begin = Mark(device)
        evaluations = [self._evaluation(one, at.step, args, len(given)) for one in given]
        reason, output = self._evaluated(evaluations, executor, args, kwargs)
        name = "+".join(evaluation.branch.name for evaluation in evaluations) or "unknown"
        self.log.entries.append(LogEntry(DIFFUSION_MODEL, name, at.step.index, reason, begin, Mark(device)))
        held = sum(branch.nbytes for branch in self._branches.values())
        self.log.bytes_held = max(self.log.bytes_held, held)
        return output

    def end(self) -> None:
        """Learn from a run that has taken all its steps."""
        self.log.end = Mark(self.log.entries[-1].device) if self.log.entries else None
        self.method.end_run(self.log.skip_cost)
        self.ended = True

    def _told_apart(self, given: list[Condition]) -> list[Condition]:
        """The conditions of a call; none if one of them was evaluated twice for a prediction, then or now."""
        self._alike.update(one for one in given if one in self._seen)
        self._seen.update(given)
        return [] if self._alike.intersection(given) else given

    def _evaluation(
        self, condition: Condition, step: Step, args: tuple[Any, ...], count: int
    ) -> OutputEvaluation[Any]:
        key = condition, layout_of(args, count)
        if key not in self._branches:
            self._branches[key] = Branch(self._name(condition), key, self.method, WHOLE_OUTPUT)
        return OutputEvaluation(self.method, Now(step), self._branches[key])

    def _evaluated(
        self, evaluations: list[OutputEvaluation[Any]], executor: Executor, args: Any, kwargs: Any
    ) -> tuple[str | None, Any]:
        """Why a call was computed, None if it was skipped, and its output."""
        estimates = [evaluation.begin() for evaluation in evaluations]
        computed = [one.reason for one in evaluations if one.reason is not None]
        if evaluations and not computed:
            return None, together(estimates)
        output = executor(*args, **kwargs)
        if not evaluations:
            return NOT_TOLD_APART, output
        parts = parts_of(output, len(evaluations))
        if not parts:
            self.log.note(NOT_DIVIDED)
        for evaluation, part in zip(evaluations, parts, strict=False):
            evaluation.reason = evaluation.reason or WITH_OTHERS
            evaluation.finish(part, next(floats_in(part)))
        return computed[0], output

    def _name(self, condition: Condition) -> str:
        """``cond``, ``uncond``, and numbered ones for what is as positive or negative as another."""
        if condition not in self._names:
            others = sum(one.is_uncond == condition.is_uncond for one in self._names)
            self._names[condition] = condition.name + (f" {others + 1}" if others else "")
        return self._names[condition]

    @property
    def _is_recorded(self) -> bool:
        return bool(self.log.entries) and self.log.entries[-1].reason is Reason.RECORDING

    def _record_guided(self, step: Step, output: Tensor) -> None:
        """Record what guidance of any kind made of the conditions' outputs."""
        with torch.no_grad():
            self.method.update(None, Outcome(output=output, branch=GUIDED), step, self.method.new_state())
