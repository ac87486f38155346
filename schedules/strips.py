"""Strips: which steps are computed, for each number of them."""

from collections.abc import Sequence

from skipstone.schedules.best_steps import best_choices, share_budget
from skipstone.schedules.profile import RESIDUAL, Profile
from skipstone.schedules.recipe import Recipe


def best_strips(record: Profile, recipe: Recipe, computed: Sequence[int]) -> tuple[str, ...]:
    """The best strip with each number of computed steps."""
    matrices = {model: record.recorded(model, RESIDUAL) for model in record.models}
    planned = {step for part in matrices.values() for step in part.steps}
    always = set(range(record.steps)) - planned
    importance = record.importance(recipe.power)
    tables = {
        model: best_choices(part, importance[list(part.steps)], max(computed) - len(always), recipe.weigh)
        for model, part in matrices.items()
    }
    costs = {model: [cost for cost, _ in table] for model, table in tables.items()}

    def chosen(count: int) -> str:
        steps = set(always)
        for model, share in share_budget(costs, count - len(always)).items():
            steps |= {matrices[model].steps[position] for position in tables[model][share - 1][1]}
        return strip_of(steps, record.steps)

    return tuple(map(chosen, computed))


def strip_of(computed: set[int], steps: int) -> str:
    """A strip: one character for each step, ``#`` for computed ones."""
    return "".join("#" if step in computed else "." for step in range(steps))


def fewest(record: Profile) -> int:
    """The fewest steps that a plan can compute: one for each model, and those that were not recorded."""
    parts = [record.recorded(model, RESIDUAL) for model in record.models]
    return record.steps - sum(len(part.steps) for part in parts) + len(parts)
