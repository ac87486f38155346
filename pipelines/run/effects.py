"""What a solver goes on from after each step, and how much of each output is in it."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Held
from skipstone.pipelines.run.noise import in_latents, prediction, response
from skipstone.pipelines.run.samplers import keeps
from skipstone.pipelines.run.schedule import Schedule
from skipstone.pipelines.run.schedulers import MARK
from skipstone.schedules.moments import Floats


@dataclass(frozen=True)
class Effects:
    """How much of each output is in what a computed step gives, each ``(steps,)``.

    Args:
        echo: in the step's own output, through the latents that it was computed from.
        held: in the latents after the step, and in each tensor that the solver keeps then; None where it
            keeps none.
    """

    echo: Floats
    held: Sequence[Floats | None]


HOST = "cpu"
"""Where solvers are tried, whatever torch's default device is."""

MOST_KNOWN = 16
"""How many schedules' effects are kept."""

_known: dict[tuple[Any, ...], list[Effects]] = {}


def effects(scheduler: Any, schedule: Schedule, first: int, count: int) -> list[Effects]:
    """How much of each output is in what a solver goes on from, after each step that is computed.

    The solver's own code tells: a copy of it takes the run's steps with outputs that are unit vectors, so all
    of its tensors show how much of each output they have. All outputs before a step are taken as they are, as
    estimates are; the step's own answers to what these have done to the latents, as `response` says.

    Args:
        scheduler: one of those that `keeps` knows.
        schedule: what it has set.
        first: the position of the run's first step in it.
        count: the run's steps.
    """
    key = type(scheduler), str(scheduler.config), schedule, first, count
    found = _known.get(key)
    if found is None:
        levels = schedule.levels[first : first + count]
        answers = [response(prediction(scheduler), *in_latents(scheduler, level)) for level in levels]
        found = _known[key] = list(_found_out(_fresh(scheduler, schedule, first), first, answers))
        for oldest in list(_known)[:-MOST_KNOWN]:
            _known.pop(oldest, None)  # Pipelines in other threads drop them, too.
    return found


def _found_out(solver: Any, first: int, answers: Sequence[float]) -> Iterator[Effects]:
    count = len(answers)
    units = torch.eye(count, dtype=torch.float64, device=HOST).view(count, 1, count, 1, 1)
    latents = torch.zeros_like(units[0])
    for unit, answer, time in zip(units, answers, solver.timesteps[first:], strict=False):
        other, echo = _copied(solver), answer * latents
        after = other.step(unit + echo, time, latents, return_dict=False)[0]
        shares = [None if one is None else _shares(one) for one in (after, *_kept(other))]
        yield Effects(_shares(echo), shares)
        latents = solver.step(unit, time, latents, return_dict=False)[0]


def _shares(tensor: Tensor) -> Floats:
    found: Floats = tensor.double().flatten().numpy()
    return found


def _copied(solver: Any) -> Any:
    other = copy.copy(solver)
    for name, value in vars(solver).items():
        if isinstance(value, list):
            setattr(other, name, [*value])
    return other


def held(scheduler: Any, latents: Tensor, found: Effects) -> list[Held]:
    """What a solver goes on from after a step, to be changed in place.

    Args:
        scheduler: the scheduler, which gets copies of what it keeps: others may hold the same.
        latents: after the step.
        found: the effects on the step.
    """
    for name in keeps(scheduler) or ():
        value = getattr(scheduler, name)
        setattr(scheduler, name, [_copy(one) for one in value] if isinstance(value, list) else _copy(value))
    pairs = zip([latents, *_kept(scheduler)], found.held, strict=True)
    return [Held(one, its) for one, its in pairs if one is not None and its is not None]


def _fresh(scheduler: Any, schedule: Schedule, first: int) -> Any:
    """A copy before its first step, which nobody follows, on the host."""
    solver = _copied(scheduler)
    solver.__dict__.pop(MARK, None)
    # What is known already need not be read from the device.
    solver.timesteps = torch.tensor(schedule.timesteps, dtype=scheduler.timesteps.dtype, device=HOST)
    if schedule.sigmas:
        solver.sigmas = torch.tensor(schedule.sigmas, dtype=scheduler.sigmas.dtype, device=HOST)
    solver._step_index, solver.lower_order_nums = first, 0
    for name in keeps(scheduler) or ():
        value = getattr(scheduler, name)
        setattr(solver, name, [None] * len(value) if isinstance(value, list) else None)
    # DDIM leaves its table where noise was added to a picture.
    for name, value in vars(solver).items():
        if isinstance(value, Tensor):
            setattr(solver, name, value.to(HOST))
    return solver


def _kept(scheduler: Any) -> Iterator[Tensor | None]:
    for name in keeps(scheduler) or ():
        value = getattr(scheduler, name)
        yield from value if isinstance(value, list) else [value]


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
