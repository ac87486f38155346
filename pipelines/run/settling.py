"""Let methods correct what a solver goes on from after a step."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from skipstone.cachers.contract.words import Solved
from skipstone.pipelines.run.effects import effects, held
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.samplers import keeps, mixes_latents
from skipstone.pipelines.run.schedulers import Taken
from skipstone.pipelines.run.stats import LogEntry, RunLog

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
    output, latents, entry = taken.output, taken.latents, made_by(run.log, run.index)
    if not (isinstance(output, Tensor) and isinstance(latents, Tensor) and output.shape == latents.shape):
        return
    continues = run.continuity.goes_on({} if run.call is None else run.call.strengths, taken.sample)
    if continues and entry is not None:
        found = effects(scheduler, run.schedule, run.first, run.count)[run.index]
        goes_on_from = () if entry.reason is None else held(scheduler, latents, found)
        solved = Solved(run.step, entry.reason, output, goes_on_from, found.echo)
        run.models[entry.model].method.settle(solved)
    run.continuity.leave(latents)


def is_usual(run: Run, scheduler: Any, taken: Taken) -> bool:
    """Whether a step goes to the run's next time, once, and adds up outputs of the model alone."""
    elsewhere = any(taken.arguments.get(name) is not None for name in OTHER_TIMES)
    is_odd = elsewhere or run.noisy_sampler or run.repeats or run.is_shared
    mixes = run.call is not None and mixes_latents(run.call.pipe)
    return not (is_odd or mixes) and keeps(scheduler) is not None


def made_by(log: RunLog, step: int) -> LogEntry | None:
    """An evaluation of a step that stands for all of them.

    None if they differ in their model or in why they were computed, were computed in part, or are of other
    branches than on the step before, as where guidance ends.
    """
    entries = log.step_entries(step)
    if len({(entry.model, entry.reason) for entry in entries}) != 1:
        return None
    one = entries[0]
    before = [entry for entry in log.step_entries(step - 1) if entry.model == one.model]
    are_others = bool(before) and _branches(before) != _branches(entries)
    return None if are_others or any(entry.skipped_in_part for entry in entries) else one


def _branches(entries: Sequence[LogEntry]) -> set[str]:
    """Those of a step; a call of several at once has all their names."""
    return {name for entry in entries for name in entry.branch.split("+")}
