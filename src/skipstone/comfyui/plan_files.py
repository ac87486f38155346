"""Plans by name in the user's cache folder, or by the path of a file."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from skipstone.comfyui.made_for import PROGRAM
from skipstone.pipelines.planning import autoplan
from skipstone.schedules.load import load_plan
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import OUTPUT, RESIDUAL

NAME = re.compile(r"\w[\w .-]*")
"""A workflow comes from anywhere: it writes into one folder alone."""


def keep_plan(plan: Plan, name: str) -> Path:
    """Write a plan under a name.

    Raises:
        ValueError: the name is none, there is no home folder, or the file cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a plan's name has letters, digits, spaces, dots and dashes alone, got {name!r}")
    path = _folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    plan.save(path)
    return path


def find_plan(name: str) -> Plan:
    """Read the plan that a user names, or a file.

    Args:
        name: as `keep_plan` was given, or a path.

    Raises:
        ValueError: there is no such plan, it is damaged, or it is for several models.
    """
    plan = load_plan(_file(name))
    if len(plan.record.models) > 1:
        models = ", ".join(plan.record.models)
        raise ValueError(
            f"{name!r} is for {models} together, and a sampler runs one model: take a plan for it alone"
        )
    return plan if plan.record.made_for.get("pipeline") == PROGRAM else _for_whole_outputs(plan)


def fingerprint(name: str) -> str:
    """A short name for what the file of a plan holds; what the user wrote, where it cannot be read.

    Args:
        name: as of `find_plan`.
    """
    try:
        return hashlib.sha256(Path(_file(name)).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return name


def _file(name: str) -> Path | str:
    """The file that was kept under a name; else the name, as a path."""
    kept = _folder() / f"{name}.json" if NAME.fullmatch(name) else None
    return kept if kept is not None and kept.is_file() else name


def _for_whole_outputs(plan: Plan) -> Plan:
    """A plan with the weights that fit whole outputs; nothing was measured with these."""
    recipe = replace(plan.recipe, weights=plan.recipe.weights.replace(RESIDUAL, OUTPUT))
    if not recipe.suits(plan.record):
        raise ValueError("the plan's record has no outputs, which are estimated in ComfyUI: record again")
    return replace(plan, recipe=recipe, validations=(), promise=None)


def _folder() -> Path:
    records = autoplan.records_folder()
    if records is None:
        raise ValueError("plans are kept in the home folder, and this user has none: give the path of a file")
    return records.parent / "plans"
