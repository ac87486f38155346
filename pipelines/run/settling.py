"""Let methods correct the latents after a solver's step."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from skipstone.cachers.contract.words import Solved
from skipstone.pipelines.run.noise import latents_unit, prediction
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.samplers import mixes_latents, uses_outputs_once
from skipstone.pipelines.run.schedulers import Taken
from skipstone.pipelines.run.stats import LogEntry

OTHER_TIMES = ("per_token_timesteps", "r_timestep")
"""Arguments of steps that go to other times than the schedule's next one."""


def settle(run: Run, scheduler: Any, taken: Taken) -> None:
    """Tell the method of the model that made a step's output, if the whole of it was computed or estimated.

    Args:
        run: the run, after the step.
        scheduler: the scheduler that took it.
        taken: the step.
    """
    settles = any(memory.method.settles for memory in run.models.values())
    if not settles or not is_usual(run, scheduler, taken):
        return
    output, latents, entry = taken.output, taken.latents, made_by(run)
    if not (isinstance(output, Tensor) and isinstance(latents, Tensor) and output.shape == latents.shape):
        return
    goes_on = run.continuity.goes_on({} if run.call is None else run.call.strengths, taken.sample)
    now, end = (run.schedule.time_after(run.first + index) for index in (run.index, run.count - 1))
    if goes_on and entry is not None and now is not None and end is not None:
        unit, made = latents_unit(scheduler, now), prediction(scheduler)
        solved = Solved(run.step, entry.reason, output, latents, unit, made, end)
        run.models[entry.model].method.settle(solved)
    run.continuity.leave(latents)


def is_usual(run: Run, scheduler: Any, taken: Taken) -> bool:
    """Whether a step of first order goes to the run's next time, once, by the model's output alone."""
    elsewhere = any(taken.arguments.get(name) is not None for name in OTHER_TIMES)
    is_odd = elsewhere or run.noisy_sampler or run.repeats or run.is_shared
    mixes = run.call is not None and mixes_latents(run.call.pipe)
    return not (is_odd or mixes) and uses_outputs_once(scheduler)


def made_by(run: Run) -> LogEntry | None:
    """An evaluation of the present step that stands for all of them.

    None if they differ in their model or in why they were computed, were computed in part, or are of other
    branches than on the step before, as where guidance ends.
    """
    entries = run.log.step_entries(run.index)
    if len({(entry.model, entry.reason) for entry in entries}) != 1:
        return None
    one = entries[0]
    before = [entry for entry in run.log.step_entries(run.index - 1) if entry.model == one.model]
    are_others = bool(before) and _branches(before) != _branches(entries)
    return None if are_others or any(entry.skipped_in_part for entry in entries) else one


def _branches(entries: Sequence[LogEntry]) -> set[str]:
    return {entry.branch for entry in entries}
