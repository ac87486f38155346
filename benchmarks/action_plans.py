"""Plans of more than whole steps: the conditional branch alone, or only the first blocks.

A plan is a string, a character a step: ``#`` both branches are computed, ``c`` the conditional one alone, a
digit so many blocks of both, ``.`` nothing. What is not computed is estimated by least squares from what is
known then: residuals of the newest steps on which the branch was computed; on a ``c`` the conditional
residuals of this step and of those; after first blocks what these have added now and on those steps.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skipstone.schedules.moments import RIDGE, Floats

COND, UNCOND = 0, 1

TRIES = 20000
"""Changes that the search for a plan tries."""

HEAT = 0.05
"""How much worse than the plan, as a share, a change may be at the search's begin."""


class Seen(NamedTuple):
    """What one branch's first blocks have added to their input at a step."""

    branch: int
    depth: int
    step: int


class Known(NamedTuple):
    """What a step can be estimated from.

    Args:
        cond: the newest two steps on which the conditional branch was computed, newest first.
        uncond: likewise the unconditional one.
        partial: the newest step of which only so many blocks were computed since, and how many; or None.
    """

    cond: tuple[int, ...] = ()
    uncond: tuple[int, ...] = ()
    partial: tuple[int, int] | None = None

    def after(self, step: int, action: str) -> "Known":
        """What is known after a step."""
        cond, uncond = (step, *self.cond[:1]), (step, *self.uncond[:1])
        if action == "#":
            return Known(cond, uncond)
        if action == "c":
            return Known(cond, self.uncond)
        return self if action == "." else self._replace(partial=(step, int(action)))


Weights = Mapping[Seen, float]
"""The weight of each known value in an estimate."""


@dataclass(frozen=True)
class Matrix:
    """How alike everything is that was seen in a run.

    Args:
        places: where each value is in the matrix.
        gram: the mean product of any two values.
        depth: how many blocks there are.
    """

    places: Mapping[Seen, int]
    gram: Floats
    depth: int

    @property
    def steps(self) -> int:
        return 1 + max(seen.step for seen in self.places)


def matrix_of(seen: Mapping[Seen, Tensor], depth: int) -> Matrix:
    """The matrix of a run, each sample scaled to a mean square of 1 over its conditional residuals."""
    values = np.array([tensor.flatten(1).double().cpu().numpy() for tensor in seen.values()])
    places = {key: n for n, key in enumerate(seen)}
    whole = [n for key, n in places.items() if key[:2] == (COND, depth)]
    values = values / np.sqrt((values[whole] ** 2).mean(axis=(0, 2), keepdims=True))
    flat = values.reshape(len(values), -1)
    return Matrix(places, flat @ flat.T / flat.shape[1], depth)


def combined(matrix: Matrix, metric: Floats) -> Floats:
    """The matrix of whole steps, ``(steps, steps)``, branches weighed by a metric."""
    places = np.array(
        [
            [matrix.places[Seen(branch, matrix.depth, step)] for step in range(matrix.steps)]
            for branch in (COND, UNCOND)
        ]
    )
    parts = matrix.gram[places[:, None, :, None], places[None, :, None, :]]
    total: Floats = np.einsum("ab,abst->st", metric, parts)
    return (total + total.T) / 2


@dataclass(frozen=True, eq=False)
class Costs:
    """What plans cost, and the weights that they use.

    Args:
        matrix: of the recorded run.
        metric: what the product of the errors of any two branches counts, ``(2, 2)``.
        importance: of each step's error.
    """

    matrix: Matrix
    metric: Floats
    importance: Floats
    _known: dict[tuple[int, str, Known], tuple[float, dict[int, Weights]]] = field(default_factory=dict)

    def of(self, actions: str) -> float:
        """The sum of a plan's squared errors, each by its step's importance."""
        return sum(cost for cost, _ in self._walk(actions))

    def weights(self, actions: str) -> list[dict[int, Weights]]:
        """For each step the weights of each branch that is estimated."""
        return [weights for _, weights in self._walk(actions)]

    def elsewhere(self, actions: str, matrix: Matrix) -> float:
        """What the plan costs on another run, with the weights of this one."""
        errors = [self._error(step, weights, matrix) for step, weights in enumerate(self.weights(actions))]
        return float(self.importance @ errors)

    def _walk(self, actions: str) -> list[tuple[float, dict[int, Weights]]]:
        known, walked = Known(), []
        for step, action in enumerate(actions):
            key = step, action, known
            if key not in self._known:
                weights = self._fit(step, action, known)
                error = self._error(step, weights, self.matrix)
                self._known[key] = float(self.importance[step]) * error, weights
            walked.append(self._known[key])
            known = known.after(step, action)
        return walked

    def _fit(self, step: int, action: str, known: Known) -> dict[int, Weights]:
        """Least squares with a small ridge; branches that are estimated alike share their weights."""
        centres = {branch: self._centre(branch, step, action, known) for branch in _estimated(action)}
        if not centres:
            return {}
        terms = [(branch, seen) for branch, centre in centres.items() for seen in centre]
        start = np.array([weight for centre in centres.values() for weight in centre.values()])
        products = self._products(step, tuple(centres), terms, self.matrix)
        count, targets = len(terms), len(centres)
        ties = np.eye(count)
        if targets == 2 and known.cond == known.uncond:
            ties = np.hstack([np.eye(count // 2)] * 2)
        own = np.array(
            [self.matrix.gram[self.matrix.places[seen], self.matrix.places[seen]] for _, seen in terms]
        )
        ridge = RIDGE * (ties @ own)
        among = ties @ products[targets:, targets:] @ ties.T + np.diag(ridge)
        wanted = ties @ products[targets:, :targets].sum(1) + ridge * start[: len(ties)]
        found = ties.T @ np.linalg.solve(among, wanted)
        weights: dict[int, dict[Seen, float]] = {branch: {} for branch in centres}
        for (branch, seen), weight in zip(terms, found, strict=True):
            weights[branch][seen] = float(weight)
        return weights

    def _centre(self, branch: int, step: int, action: str, known: Known) -> dict[Seen, float]:
        """What an estimate is made from, with the weights that it stays near to.

        These are reuse of the newest value, and what is known to have been added since.
        """
        depth, anchors = self.matrix.depth, known.uncond if branch == UNCOND else known.cond
        helper: tuple[int, int, int] | None = None
        if action.isdigit():
            helper = branch, int(action), step
        elif action == "c" or (branch == UNCOND and known.cond[0] > anchors[0]):
            helper = COND, depth, step if action == "c" else known.cond[0]
        elif known.partial is not None and known.partial[0] > anchors[0]:
            helper = branch, known.partial[1], known.partial[0]
        near = [1.0, *[0.0] * (len(anchors) - 1)]
        centre = {Seen(branch, depth, at): weight for at, weight in zip(anchors, near, strict=True)}
        if helper is not None:
            centre[Seen(*helper)] = 1.0
            centre |= {Seen(*helper[:2], at): -weight for at, weight in zip(anchors, near, strict=True)}
        return centre

    def _error(self, step: int, weights: Mapping[int, Weights], matrix: Matrix) -> float:
        """The mean squared error of a step's estimates, the branches' errors weighed by the metric."""
        if not weights:
            return 0.0
        terms = [(branch, seen) for branch, part in weights.items() for seen in part]
        errors = np.array([1.0] * len(weights) + [-w for part in weights.values() for w in part.values()])
        return max(0.0, float(errors @ self._products(step, tuple(weights), terms, matrix) @ errors))

    def _products(
        self, step: int, targets: Sequence[int], terms: Sequence[tuple[int, Seen]], matrix: Matrix
    ) -> Floats:
        """The mean products of a step's values on some branches and of what estimates them, by the metric."""
        pairs = [*((branch, Seen(branch, matrix.depth, step)) for branch in targets), *terms]
        branches = np.array([branch for branch, _ in pairs])
        places = np.array([matrix.places[seen] for _, seen in pairs])
        found: Floats = self.metric[branches[:, None], branches] * matrix.gram[places[:, None], places]
        return found


def _estimated(action: str) -> tuple[int, ...]:
    return {"#": (), "c": (UNCOND,)}.get(action, (COND, UNCOND))


def spent(actions: str, depth: int) -> float:
    """What a plan computes, in whole steps."""
    return sum(_price(action, depth) for action in actions)


def _price(action: str, depth: int) -> float:
    return int(action) / depth if action.isdigit() else {"#": 1.0, "c": 0.5, ".": 0.0}[action]


def searched(costs: Costs, first: str, allowed: str, budget: float, tries: int = TRIES) -> str:
    """The best plan that simulated annealing finds.

    Args:
        costs: what plans cost.
        first: where to begin.
        allowed: the actions.
        budget: what may be computed, in whole steps.
        tries: how many changes to try.
    """
    chooser, depth = random.Random(0), costs.matrix.depth
    here = best = first
    cost = least = costs.of(first)
    for n in range(tries):
        moved = _moved(here, allowed, chooser)
        if spent(moved, depth) > budget + 1e-9:
            continue
        other = costs.of(moved)
        heat = HEAT * (1 - n / tries) ** 2 * least
        if other <= cost or chooser.random() < np.exp((cost - other) / max(heat, 1e-30)):
            here, cost = moved, other
        if cost < least:
            best, least = here, cost
    return best


def _moved(actions: str, allowed: str, chooser: random.Random) -> str:
    """A plan with two steps' actions changed, or exchanged with near ones."""
    marks = list(actions)
    one = chooser.randrange(1, len(marks))
    if chooser.random() < 0.5:
        other = min(len(marks) - 1, max(1, one + chooser.choice((-3, -2, -1, 1, 2, 3))))
        marks[one], marks[other] = marks[other], marks[one]
        return "".join(marks)
    for at in {one, *(chooser.randrange(1, len(marks)) for _ in range(chooser.choice((1, 1, 2))))}:
        marks[at] = chooser.choice(allowed)
    return "".join(marks)
