"""Which steps to compute: the exact best for every budget, by dynamic programming."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from skipstone.schedules.moments import Floats, Moments, least_squares, squared_error

MOST_STEPS = 200
"""The planner's memory grows with the third power of the steps."""

Positions = tuple[int, ...]
"""Computed steps, as positions among the steps at which the moments are known."""


def cost(moments: Moments, computed: Sequence[int], importance: Floats) -> float:
    """What a choice of computed steps costs: the importance-weighted squared errors of all others.

    Each skipped step is estimated from the two computed ones before it, as far as there are two.

    Args:
        moments: what the estimates are judged by, ``n`` steps of it.
        computed: positions, rising from 0.
        importance: ``(n,)``.
    """
    total = 0.0
    for n, (newest, end) in enumerate(pairwise((*computed, len(moments.steps)))):
        anchors = np.array([newest, *computed[:n][-1:]])
        for at in range(newest + 1, end):
            weights = least_squares(moments.gram, anchors, at)
            total += importance[at] * float(squared_error(moments.gram, anchors, at, weights))
    return total


def best_choices(moments: Moments, importance: Floats, most: int) -> list[tuple[float, Positions]]:
    """The cheapest choice of exactly 1, 2, ... computed steps, the first one always among them.

    Exact: the state is the pair (computed step before, newest computed step), on which the estimates depend.

    Args:
        moments: what the estimates are judged by.
        importance: of each step's squared error, ``(n,)``.
        most: up to how many computed steps.

    Returns:
        For each budget from 1 its cost and its positions.

    Raises:
        ValueError: more steps than can be planned.
    """
    count = len(moments.steps)
    if count > MOST_STEPS:
        raise ValueError(f"a plan is for at most {MOST_STEPS} steps, this record has {count}")
    gaps = _gap_costs(moments.gram, importance)
    value = np.full((count + 1, count), np.inf)
    value[0, 0] = 0.0
    choices: list[tuple[float, Positions]] = []
    backs: list[npt.NDArray[np.intp]] = []
    for _ in range(min(most, count)):
        total = value + gaps[:, :, count]
        before, newest = np.unravel_index(total.argmin(), total.shape)
        choices.append((float(total.min()), _walk_back(backs, int(before), int(newest))))
        reached = value[:, :, None] + gaps[:, :, :count]
        backs.append(reached.argmin(axis=0))
        value = np.full_like(value, np.inf)
        value[1:] = reached.min(axis=0)
    return choices


def share_budget(tables: Mapping[str, Sequence[float]], computed: int) -> dict[str, int]:
    """How many steps each model computes when together they compute so many, at the least cost.

    Args:
        tables: for each model its cost with 1, 2, ... computed steps.
        computed: for all of them, at least one for each.
    """
    best: dict[int, tuple[float, dict[str, int]]] = {0: (0.0, {})}
    for model, costs in tables.items():
        joined: dict[int, tuple[float, dict[str, int]]] = {}
        for spent, (total, shares) in best.items():
            for own, price in enumerate(costs[: computed - spent], start=1):
                offer = (total + price, {**shares, model: own})
                joined[spent + own] = min(joined.get(spent + own, offer), offer, key=lambda one: one[0])
        best = joined
    return best[computed][1]


def _gap_costs(gram: Floats, importance: Floats) -> Floats:
    """The cost of skipping all steps between two computed ones.

    Returns:
        ``(n + 1, n, n + 1)``: by the computed step before (0 for none, else its position plus 1), the newest
        computed step and the next one (``n`` for the run's end); infinite where their order is another.
    """
    count = len(gram)
    errors = np.zeros((count + 1, count, count))
    errors[0] = _errors(gram, [np.arange(count)]) * importance
    earlier = np.arange(count)
    for before in range(count):
        errors[before + 1] = _errors(gram, [earlier, np.full(count, before)]) * importance
    newest, at = np.arange(count)[:, None], np.arange(count)
    errors = np.where(at > newest, errors, 0.0)
    gaps = np.zeros((count + 1, count, count + 1))
    gaps[:, :, 1:] = errors.cumsum(axis=2)
    gaps[:, :, :count][:, at <= newest] = np.inf
    gaps[1:][~(np.arange(count)[:, None] < np.arange(count))] = np.inf
    return gaps


def _errors(gram: Floats, anchors: Iterable[npt.NDArray[np.intp]]) -> Floats:
    """The squared error of each step from each set of anchors, ``(sets, n)``."""
    sets = np.stack(list(anchors), axis=-1)[:, None, :].repeat(len(gram), axis=1)
    at = np.arange(len(gram))[None, :].repeat(len(sets), axis=0)
    return squared_error(gram, sets, at, least_squares(gram, sets, at))


def _walk_back(backs: Sequence[npt.NDArray[np.intp]], before: int, newest: int) -> Positions:
    """The computed steps that led to a pair, through the best predecessor at each budget."""
    positions = [newest]
    for back in reversed(backs):
        newest, before = before - 1, int(back[before - 1, newest])
        positions.append(newest)
    return tuple(reversed(positions))
