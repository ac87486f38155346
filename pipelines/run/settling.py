"""Let methods correct the latents after a solver's step."""

from typing import Any

from torch import Tensor

from skipstone.cachers.contract.words import Solved
from skipstone.pipelines.run.noise import latents_unit
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.samplers import uses_outputs_once
from skipstone.pipelines.run.schedulers import Taken


def settle(run: Run, scheduler: Any, taken: Taken) -> None:
    """Tell the method of the model that made a step's output, if the whole of it was computed.

    Args:
        run: the run, after the step.
        scheduler: the scheduler that took it.
        taken: the step.
    """
    is_odd = run.noisy_sampler or run.repeats or run.is_shared or "per_token_timesteps" in taken.arguments
    if is_odd or not uses_outputs_once(scheduler):
        return
    output, latents, time = taken.output, taken.latents, time_after(run)
    if not (isinstance(output, Tensor) and isinstance(latents, Tensor) and output.shape == latents.shape):
        return
    model, reason = computed_by(run)
    if model is not None and reason is not None and time is not None:
        solved = Solved(run.step, reason, output, latents, latents_unit(scheduler, time))
        run.models[model].method.settle(solved)


def computed_by(run: Run) -> tuple[str | None, str | None]:
    """The one model that was called in the present step, and why all of its branches were computed."""
    entries = run.log.step_entries(run.index)
    models, reasons = {entry.model for entry in entries}, {entry.reason for entry in entries}
    if len(models) != 1 or len(reasons) != 1:
        return None, None
    return models.pop(), reasons.pop()


def time_after(run: Run) -> float | None:
    """The flow time of the latents after the present step; None if it is not known."""
    if run.index + 1 == run.count:
        return 0.0
    after = run.steps[run.index + 1]
    if after.signal is None or after.noise is None:
        return None
    return after.noise / (after.signal + after.noise)
