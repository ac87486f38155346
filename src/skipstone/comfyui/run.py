"""One run of a sampler: each condition is a branch, and whole outputs of the model are estimated."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Outcome, Probe, Reason, RunFacts, Site, Step
from skipstone.comfyui.conditions import Condition, conditions_of, layout_of, parts_of, together
from skipstone.comfyui.contract import DIFFUSION_MODEL, Executor, Sampling, call_options
from skipstone.comfyui.controls import asked, waiting_controls
from skipstone.comfyui.noise_levels import raw_output, step_at, steps_of
from skipstone.comfyui.settling import SamplerSettling
from skipstone.pipelines.evaluations.base import Branch
from skipstone.pipelines.evaluations.output import OutputEvaluation
from skipstone.pipelines.evaluations.sites import Placement
from skipstone.pipelines.memory.layer import reason_to_compute
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.model.outputs import floats_in
from skipstone.pipelines.run.stats import LogEntry, RunLog
from skipstone.pipelines.run.stopwatch import Mark
from skipstone.schedules.profile import GUIDED

WHOLE_OUTPUT = Placement(Site.OUTPUT, Probe.NONE)

LOOKS_AHEAD = 2
"""By how many steps a sampler's calls are ahead of its step at most, as those of Heun's third-order kind."""

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


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Args:
        step: its step.
        mark: when it began.
        evaluations: one for each condition; none if they cannot be told apart.
        reason: why it is computed; None if it is skipped.
        output: the estimate, if it is skipped.
        args: its arguments, if it is computed.
        kwargs: the same of its keyword arguments.
    """

    step: Step
    mark: Mark
    evaluations: Sequence[OutputEvaluation[Any]]
    reason: str | None
    output: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


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
        self._settling = SamplerSettling(sampling, self.steps)
        self._branches: dict[Hashable, Branch[Any]] = {}
        self._called: dict[Hashable, int] = {}
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
        dtype = str(noise.dtype).removeprefix("torch.")
        return RunFacts(self.steps, tuple(noise.shape[1:]), dtype, scales, key=self)

    def predict(self, executor: Executor, latents: Any, sigma: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One prediction for all conditions."""
        level = float(sigma.flatten()[0])
        step = step_at(self.steps, level)
        self._visits[step.index] += 1
        self._seen.clear()
        self._forget_before(step.index - LOOKS_AHEAD)
        self._at = Prediction(step, self._visits[step.index])
        waiting = waiting_controls(executor.class_obj) if self._may_skip(step) else nullcontext()
        try:
            with waiting:
                denoised = executor(latents, sigma, *args, **kwargs)
        finally:
            self._at = None
        if not isinstance(denoised, Tensor):
            return denoised
        if self._is_recorded:
            self._record_guided(step, raw_output(self._levels, level, latents, denoised))
        return self._settling.settled(self.method, self.log, step, level, latents, denoised)

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        """One call of the model begins; None where it belongs to no prediction."""
        at = self._at
        if at is None:
            return None
        mark = Mark(next(floats_in(args)).device)
        given = self._told_apart(conditions_of(call_options(args, kwargs), at.visit))
        evaluations = [self._evaluation(one, at.step, args, len(given)) for one in given]
        estimates = [evaluation.begin() for evaluation in evaluations]
        computed = [one.reason for one in evaluations if one.reason is not None]
        if evaluations and not computed:
            return Call(at.step, mark, evaluations, None, together(estimates))
        reason = computed[0] if computed else NOT_TOLD_APART
        return Call(at.step, mark, evaluations, reason, None, *asked(args, kwargs))

    def finish(self, call: Call, output: Any) -> None:
        """Note a call, and keep what a computed one gave."""
        if call.reason is not None:
            self._keep(call, output)
        name = "+".join(evaluation.branch.name for evaluation in call.evaluations) or "unknown"
        entry = LogEntry(
            DIFFUSION_MODEL, name, call.step.index, call.reason, call.mark, Mark(call.mark.device)
        )
        self.log.entries.append(entry)
        held = self.method.nbytes + sum(branch.nbytes for branch in self._branches.values())
        self.log.bytes_held = max(self.log.bytes_held, held)

    def end(self) -> None:
        """Learn from a run that was not interrupted, if it has taken all its steps."""
        self.log.end = Mark(self.log.entries[-1].device) if self.log.entries else None
        if self.log.is_over:
            self.method.end_run(self.log.skip_cost)
        self.ended = True

    def _may_skip(self, step: Step) -> bool:
        """Whether no known branch has to be computed."""
        branches = self._branches.values()
        reasons = [reason_to_compute(self.method, Now(step), one.state, one.snapshots) for one in branches]
        return bool(reasons) and not any(reasons)

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
        self._called[key] = step.index
        return OutputEvaluation(self.method, Now(step), self._branches[key])

    def _forget_before(self, index: int) -> None:
        """Drop branches that were last called before a step: conditions that ended, windows that moved on."""
        for key in [key for key, last in self._called.items() if last < index]:
            del self._called[key], self._branches[key]

    def _keep(self, call: Call, output: Any) -> None:
        parts = parts_of(output, len(call.evaluations)) if call.evaluations else []
        if call.evaluations and not parts:
            self.log.note(NOT_DIVIDED)
        for evaluation, part in zip(call.evaluations, parts, strict=False):
            evaluation.reason = evaluation.reason or WITH_OTHERS
            evaluation.finish(part, next(floats_in(part)))

    def _name(self, condition: Condition) -> str:
        """``cond``, ``uncond``, and numbered ones for what is as positive or negative as another."""
        if condition not in self._names:
            others = sum(one.is_uncond == condition.is_uncond for one in self._names)
            self._names[condition] = condition.name + (f" {others + 1}" if others else "")
        return self._names[condition]

    @property
    def is_predicted(self) -> bool:
        """Whether a prediction was seen."""
        return bool(self._visits)

    @property
    def _is_recorded(self) -> bool:
        return bool(self.log.entries) and self.log.entries[-1].reason is Reason.RECORDING

    def _record_guided(self, step: Step, output: Tensor) -> None:
        """Record what guidance of any kind made of the conditions' outputs."""
        with torch.no_grad():
            self.method.update(None, Outcome(output=output, branch=GUIDED), step, self.method.new_state())
