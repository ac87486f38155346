"""Records and plans from their files, checked value by value."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from skipstone.schedules import files
from skipstone.schedules.importance import Prediction
from skipstone.schedules.moments import Floats, Moments
from skipstone.schedules.plan import Plan, Recipe, Validation
from skipstone.schedules.profile import Quantity
from skipstone.schedules.record import Record


def load_record(path: str | Path) -> Record:
    """Read a record from a file.

    Raises:
        ValueError: the file is not a record, is damaged, or was written by another skipstone.
    """
    return files.load(path, "record", _record_from)


def load_plan(path: str | Path) -> Plan:
    """Read a plan from a file.

    Raises:
        ValueError: the file is not a plan, is damaged, or was written by another skipstone.
    """
    return files.load(path, "plan", _plan_from)


def _record_from(content: Mapping[str, Any]) -> Record:
    """Make a record from plain values.

    Raises:
        ValueError, KeyError, TypeError: the values are not those of a record.
    """
    levels = tuple(float(level) for level in content["levels"])
    moments = {
        Quantity(one["model"], one["branch"], one["name"]): _moments_from(one, len(levels))
        for one in content["moments"]
    }
    if not moments:
        raise ValueError("no moments")
    if content["made_for"].get("prediction", "flow") not in get_args(Prediction):
        raise ValueError(f"unknown prediction {content['made_for']['prediction']!r}")
    prompts, skip_cost = int(content["prompts"]), float(content["skip_cost"])
    return Record(dict(content["made_for"]), levels, moments, prompts, skip_cost)


def _plan_from(content: Mapping[str, Any]) -> Plan:
    record = _record_from(content["record"])
    strips = tuple(map(str, content["strips"]))
    if not strips or any(len(strip) != record.steps or set(strip) - {"#", "."} for strip in strips):
        raise ValueError(f"strips {strips} for {record.steps} steps")
    validations = tuple(
        Validation(
            Recipe(**one["recipe"]),
            int(one["computed"]),
            tuple(math.inf if value is None else float(value) for value in one["psnr"]),
        )
        for one in content["validations"]
    )
    plan = Plan(record, Recipe(**content["recipe"]), strips, validations)
    assert plan.weights
    return plan


def _moments_from(content: Mapping[str, Any], count: int) -> Moments:
    steps = tuple(int(step) for step in content["steps"])
    if list(steps) != sorted(set(steps)) or not steps or not 0 <= steps[0] <= steps[-1] < count:
        raise ValueError(f"steps {steps} in a run of {count}")
    gram: Floats = np.zeros((len(steps), len(steps)))
    gram[np.tril_indices(len(steps))] = content["gram"]
    gram = gram + np.tril(gram, -1).T
    if not np.isfinite(gram).all() or np.linalg.eigvalsh(gram)[0] < -1e-6 * np.trace(gram):
        raise ValueError("the moments are those of no quantity")
    return Moments(steps, gram, float(content["scale"]))
