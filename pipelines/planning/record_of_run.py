"""Make a run's record from what a recorder has seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from skipstone.cachers.innovation import guided
from skipstone.cachers.recorders.run import Tape
from skipstone.schedules.moments import Floats, Moments, moments_of
from skipstone.schedules.profile import GUIDED, OUTPUT, RESIDUAL, Quantity
from skipstone.schedules.record import Record
from skipstone.schedules.search import Judge


def record_of(
    made_for: Mapping[str, Any],
    tapes: Mapping[str, Tape],
    prompts: int = 1,
    judge: Judge | None = None,
) -> Record:
    """The record of a finished run.

    Args:
        made_for: describes the runs that the record serves.
        tapes: the tape of each called model.
        prompts: how many prompts were recorded.
        judge: repeats the run with plans.

    Raises:
        ValueError: nothing that could be planned was recorded.
    """
    moments = {key: part for model, tape in tapes.items() for key, part in _moments(model, tape)}
    if not any(len(part.steps) > 1 for part in moments.values()):
        raise ValueError(
            "the run had fewer than two steps whose values could be read: nothing can be planned"
        )
    levels = next(iter(tapes.values())).run.levels
    return Record(made_for, levels, moments, prompts, judge=judge)


def _moments(model: str, tape: Tape) -> list[tuple[Quantity, Moments]]:
    """All moments of one model."""
    series = {
        (branch, name): values
        for branch, seen in tape.seen.items()
        for name, values in _series(seen).items()
        if len(values[0])
    }
    guidance = tape.run.guidance
    for name in (RESIDUAL, OUTPUT):
        of_branches = {branch: values for (branch, kind), values in series.items() if kind == name}
        seen = of_branches.pop(GUIDED, None)
        if seen is not None and not _spans(of_branches, seen):
            del series[GUIDED, name]
        elif seen is None and guidance is not None and guidance > 1:
            made = _guided(of_branches, guidance)
            if made is not None:
                series[GUIDED, name] = made
    return [
        (Quantity(model, branch, name), moments_of(steps, values))
        for (branch, name), (steps, values) in series.items()
    ]


Series = tuple[tuple[int, ...], Floats]
"""Steps, and a quantity at each of them, ``(steps, batch, coordinates)``."""


def _series(seen: Mapping[int, tuple[Tensor | None, Tensor | None]]) -> dict[str, Series]:
    """The quantities of one branch. Where no residual was read, outputs are what is estimated."""
    residuals = {step: pair[0] for step, pair in seen.items() if pair[0] is not None}
    outputs = {step: pair[1] for step, pair in seen.items() if pair[1] is not None}
    return {RESIDUAL: _stacked(residuals or outputs), OUTPUT: _stacked(outputs)}


def _stacked(values: Mapping[int, Tensor]) -> Series:
    steps = tuple(sorted(values))
    return steps, np.array([values[step].cpu().numpy() for step in steps], dtype=np.float64)


def _spans(branches: Mapping[str, Series], guided: Series) -> bool:
    """Whether what guidance gave was seen on the steps that can be planned: those of some branch."""
    longest = max((steps for steps, _ in branches.values()), key=len, default=())
    return longest == guided[0]


def _guided(branches: Mapping[str, Series], scale: float) -> Series | None:
    """What guidance makes of a quantity; None where conditional and unconditional are not told apart."""
    steps = {known for known, _ in branches.values()}
    if len(steps) != 1:
        return None
    made = guided({name: values for name, (_, values) in branches.items()}, scale)
    return None if made is None else (steps.pop(), made)
