"""Which steps to compute: the exact optimum for every budget, by dynamic programming."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from skipstone.schedules.moments import Floats, Moments, Weigh, least_squares, squared_error

MOST_STEPS = 200
"""The planner's memory grows with the third power of the steps."""

COHERENCE = 0.5
"""How much of a gap's cost is the square of its errors' sum; the rest is the sum of their squares."""

Positions = tuple[int, ...]
"""Computed steps, as positions among the steps at which the moments are known."""


def cost(
    moments: Moments, computed: Sequence[int], importance: Floats, weigh: Weigh = least_squares
) -> float:
    """The cost of a choice of computed steps, added over all gaps.

    Only the accumulated error reaches the next computed step. Errors of a gap add up as they are where solver
    and model carry them on alike, and as squares where they do not: `COHERENCE` weighs the two. Each skipped
    step is estimated from the last two computed steps, or from one if there is only one.

    Args:
        moments: the moments of the estimated quantity, over ``n`` steps.
        computed: positions, rising from 0.
        importance: the weight of each step's squared error, ``(n,)``.
        weigh: how the computed steps of an estimate are weighed.
    """
    ends = (*computed[1:], len(moments.steps))
    total = 0.0
    for n, (newest, end) in enumerate(zip(computed, ends, strict=True)):
        anchors = np.array([newest, *computed[:n][-1:]])
        total += _gap_cost(moments.gram, anchors[None], importance, weigh)[0, end - newest - 1]
    return total


def best_choices(
    moments: Moments, importance: Floats, most: int, weigh: Weigh = least_squares
) -> list[tuple[float, Positions]]:
    """The cheapest choice of exactly 1, 2, ... computed steps, always including the first step.

    The result is exact: the state is the pair of the last two computed steps, on which the estimates depend.

    Args:
        moments: the moments of the estimated quantity.
        importance: the weight of each step's squared error, ``(n,)``.
        most: the largest budget.
        weigh: how the computed steps of an estimate are weighed.

    Returns:
        For each budget from 1 the cost and the positions.

    Raises:
        ValueError: the moments have more than `MOST_STEPS` steps.
    """
    count = len(moments.steps)
    if count > MOST_STEPS:
        raise ValueError(f"a plan is for at most {MOST_STEPS} steps, this record has {count}")
    gaps = _gap_costs(moments.gram, importance, weigh)
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
    """Share a number of computed steps between the models, at the least cost.

    Args:
        tables: for each model the cost with 1, 2, ... computed steps.
        computed: the number for all models together, at least one for each.
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


def _gap_costs(gram: Floats, importance: Floats, weigh: Weigh) -> Floats:
    """The cost of skipping all steps between two computed ones.

    Returns:
        ``(n + 1, n, n + 1)``: by the last but one computed step (0 for none, else its position plus 1), the
        last one, and the next one (``n`` for the run's end); infinite if they are not in this order.
    """
    count = len(gram)
    gaps = np.full((count + 1, count, count + 1), np.inf)
    for newest in range(count):
        gaps[0, newest, newest + 1 :] = _gap_cost(gram, np.array([[newest]]), importance, weigh)[0]
        if newest:
            pairs = np.stack([np.full(newest, newest), np.arange(newest)], axis=-1)
            gaps[1 : newest + 1, newest, newest + 1 :] = _gap_cost(gram, pairs, importance, weigh)
    return gaps


def _gap_cost(gram: Floats, anchors: npt.NDArray[np.intp], importance: Floats, weigh: Weigh) -> Floats:
    """What the errors of the steps after the newest anchor cost together.

    Args:
        gram: ``(n, n)``.
        anchors: ``(sets, anchors)``, newest first; all sets have the same newest one.
        importance: the weight of each step's squared error, ``(n,)``.
        weigh: how the anchors are weighed.

    Returns:
        The cost for each set and number of skipped steps from 0, ``(sets, n - newest)``.
    """
    at = np.arange(anchors[0, 0] + 1, len(gram))
    counts = np.sqrt(importance[at])
    values = (np.outer(counts, counts) * gram[np.ix_(at, at)]).cumsum(axis=0).cumsum(axis=1).diagonal()
    targets = at[None].repeat(len(anchors), axis=0)
    weights = weigh(gram, anchors[:, None].repeat(len(at), axis=1), targets)
    # A sum of weighted anchors is again a weighted sum of anchors; its weights are the sums.
    summed = (counts[:, None] * weights).cumsum(axis=1)
    crossed = (counts * gram[anchors[:, :, None], at]).cumsum(axis=2)
    among = gram[anchors[:, :, None], anchors[:, None, :]]
    own = np.einsum("sta,sab,stb->st", summed, among, summed)
    sums = values - 2 * np.einsum("sta,sat->st", summed, crossed) + own
    squares = squared_error(gram, anchors[:, None].repeat(len(at), axis=1), targets, weights)
    apart = (importance[at] * np.maximum(squares, 0.0)).cumsum(axis=1)
    costs = COHERENCE * np.maximum(sums, 0.0) + (1 - COHERENCE) * apart
    return np.concatenate([np.zeros((len(anchors), 1)), costs], axis=1)


def _walk_back(backs: Sequence[npt.NDArray[np.intp]], before: int, newest: int) -> Positions:
    """The computed steps that led to a pair, through the best predecessor at each budget."""
    positions = [newest]
    for back in reversed(backs):
        newest, before = before - 1, int(back[before - 1, newest])
        positions.append(newest)
    return tuple(reversed(positions))
