"""What a solver goes on from after each step, and how much of each output is in it."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Held
from skipstone.pipelines.run.samplers import keeps
from skipstone.pipelines.run.schedule import Schedule
from skipstone.pipelines.run.schedulers import MARK
from skipstone.schedules.moments import Floats

Row = Sequence[Floats | None]
"""Effects on the latents after a step, and on each tensor that the solver keeps; None where there is none."""


MOST_KNOWN = 16
"""How many schedules' effects are kept."""

_known: dict[tuple[Any, ...], list[Row]] = {}


def effects(scheduler: Any, schedule: Schedule, first: int, count: int) -> list[Row]:
    """How much of each step's output is in what a solver goes on from, after each step of a run.

    The solver's own code tells: a copy of it takes the run's steps with outputs that are unit vectors. So all
    of its tensors show how much of each output they have.

    Args:
        scheduler: one of those that `keeps` knows.
        schedule: what it has set.
        first: the position of the run's first step in it.
        count: the run's steps.
    """
    key = type(scheduler), str(scheduler.config), schedule, first, count
    if key not in _known:
        _known[key] = _found_out(_fresh(scheduler, schedule, first), first, count)
        while len(_known) > MOST_KNOWN:
            _known.pop(next(iter(_known)))
    return _known[key]


def _found_out(solver: Any, first: int, count: int) -> list[Row]:
    units = torch.eye(count, dtype=torch.float64).view(count, 1, count, 1, 1)
    latents = torch.zeros_like(units[0])
    rows: list[Row] = []
    for unit, time in zip(units, solver.timesteps[first:], strict=False):
        latents = solver.step(unit, time, latents, return_dict=False)[0]
        tensors = [latents, *_kept(solver)]
        rows.append([None if one is None else one.double().flatten().numpy() for one in tensors])
    return rows


def held(scheduler: Any, latents: Tensor, row: Row) -> list[Held]:
    """What a solver goes on from after a step, to be changed in place.

    Args:
        scheduler: the scheduler, which gets copies of what it keeps: others may hold the same.
        latents: after the step.
        row: the effects after the step.
    """
    for name in keeps(scheduler) or ():
        value = getattr(scheduler, name)
        setattr(scheduler, name, [_copy(one) for one in value] if isinstance(value, list) else _copy(value))
    pairs = zip([latents, *_kept(scheduler)], row, strict=True)
    return [Held(one, its) for one, its in pairs if one is not None and its is not None]


def _fresh(scheduler: Any, schedule: Schedule, first: int) -> Any:
    """A copy before its first step, which nobody follows, on the host."""
    solver = copy.copy(scheduler)
    solver.__dict__.pop(MARK, None)
    solver.timesteps = torch.tensor(schedule.timesteps, dtype=scheduler.timesteps.dtype)
    if schedule.sigmas:
        solver.sigmas = torch.tensor(schedule.sigmas, dtype=scheduler.sigmas.dtype)
    solver._step_index, solver.lower_order_nums = first, 0
    for name in ("timestep_list", *(keeps(scheduler) or ())):
        value = getattr(scheduler, name, None)
        setattr(solver, name, [None] * len(value) if isinstance(value, list) else None)
    return solver


def _kept(scheduler: Any) -> Iterator[Tensor | None]:
    for name in keeps(scheduler) or ():
        value = getattr(scheduler, name)
        yield from value if isinstance(value, list) else [value]


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
