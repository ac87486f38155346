"""Noticing that a run is harder than the recorded one, without ever waiting for the device."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean, mean

from torch import Tensor

from skipstone.cachers.contract.async_copy import AsyncCopy
from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import Step

COORDINATES = 2048
"""How many random elements of each sample are compared: the estimate with what was computed."""

DELAY = 2
"""A comparison is read this many steps later, so that the device still has work while Python reads."""

FLOOR = 0.01
"""Errors below this share of the residual do not make a run harder: rounding alone is as large."""

RECENT = 5
"""At most so many comparisons are judged together, because single ones differ from prompt to prompt."""

LEAST = 0.1
"""The lower bound on a relative error, so that one exact comparison cannot hide several bad ones."""


@dataclass
class Comparison:
    """An estimate that would have been used, and how far it was off.

    Args:
        step: the index of the computed step.
        expected: the relative error that the record predicts.
        squared: each sample's relative squared error, ``(batch,)``.
    """

    step: int
    expected: float
    squared: AsyncCopy


@dataclass
class Course:
    """What all branches of one model share in a run: how far the guard has gone.

    Args:
        margin: how many times the expected error is too much, in the geometric mean of the last comparisons.
        most: the highest level.

    ``level`` is the strip of the plan that is followed, from 0. It changes only between steps. If one branch
    were estimated and the other computed, their errors would add up; those of two estimates cancel in part.
    """

    margin: float
    most: int
    level: int = 0
    raised_at: int = -1
    looked_at: int = -1
    waiting: deque[Comparison] = field(default_factory=deque)
    recent: deque[list[float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    total: list[float] = field(default_factory=list)
    count: int = 0

    def look(self, step: Step) -> int:
        """The level at a step, after reading what is due."""
        if step.index != self.looked_at:
            self.looked_at = step.index
            while self.waiting and self.waiting[0].step <= step.index - DELAY:
                self._read(self.waiting.popleft())
        return self.level

    def deviations(self) -> list[float]:
        """For each sample the error divided by the expected one, as root mean square over all comparisons."""
        while self.waiting:
            self._read(self.waiting.popleft())
        return [math.sqrt(total / self.count) for total in self.total]

    def _read(self, comparison: Comparison) -> None:
        expected = max(comparison.expected, FLOOR) ** 2
        squares = [square / expected for square in comparison.squared.read()]
        before = self.total or [0.0] * len(squares)
        samples = min(len(before), len(squares))
        seen = of_samples(squares, samples)
        self.total = [a + b for a, b in zip(of_samples(before, samples), seen, strict=True)]
        self.count += 1
        if comparison.step > self.raised_at:
            self.recent.append([max(math.sqrt(square), LEAST) for square in seen])
            self._judge()

    def _judge(self) -> None:
        if self.level < self.most and self._is_harder():
            self.level, self.raised_at = self.level + 1, self.looked_at
            self.recent.clear()

    def _is_harder(self) -> bool:
        """Whether any sample is harder than recorded; one whose error is not a number counts as harder."""
        if not all(map(math.isfinite, self.recent[-1])):
            return True
        return any(geometric_mean(one) > self.margin for one in zip(*self.recent, strict=False))


def of_samples(squares: Sequence[float], samples: int) -> list[float]:
    """Each sample's mean over the branches. A batch holds one branch's samples, then those of the next."""
    branches = [squares[first : first + samples] for first in range(0, len(squares), samples)]
    return [mean(of_one) for of_one in zip(*branches, strict=True)]


@dataclass
class Watch:
    """Compares estimates with computed values in one branch.

    Args:
        anchors: how many computed values an estimate is made from.
        course: where the comparisons go.
    """

    anchors: int
    course: Course
    coordinates: Coordinates = field(default_factory=lambda: Coordinates(COORDINATES))
    known: deque[Tensor] = field(default_factory=deque)

    def compare(self, step: Step, value: Tensor, weights: Sequence[float], expected: float) -> None:
        """Compare a computed value with its estimate, if there is one, and keep it for later estimates.

        Args:
            step: the computed step.
            value: what was computed, ``(batch, ...)``.
            weights: of the kept values, newest first; empty for no estimate.
            expected: the relative error that the record predicts.
        """
        seen, squared = self.coordinates.compare(value, self.known if weights else (), weights)
        if weights:
            self.course.waiting.append(Comparison(step.index, expected, AsyncCopy(squared)))
        self.known.appendleft(seen)
        while len(self.known) > self.anchors:
            self.known.pop()
