"""Noticing that a run is harder than the recorded one, without ever waiting for the device."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from torch import Tensor

from skipstone.cachers.base import Step
from skipstone.cachers.coordinates import Coordinates
from skipstone.cachers.late import Late

COORDINATES = 2048
"""Random elements of each sample by which an estimate is compared with what was computed."""

DELAY = 2
"""Steps after which a comparison is read: the device has work of the step between while it is."""

FLOOR = 0.01
"""No run is called harder for errors below this share of the residual: rounding makes as much."""

SHARE = 0.15
"""How much the newest comparison counts: single ones are often off by twice what the record expects."""


@dataclass
class Comparison:
    """An estimate that would have been used, and how far it was off.

    Args:
        step: the index of the computed step.
        expected: the relative error that the record leads to expect.
        squared: each sample's relative squared error, ``(batch,)``.
    """

    step: int
    expected: float
    squared: Late


@dataclass
class Course:
    """What all branches of one model share in a run: how far the guard has gone.

    Args:
        margin: how many times the expected error is too much.
        most: the highest level.

    What is held against the margin is a mean square that forgets: it starts at what was expected, with each
    comparison counting `SHARE` and all before it the rest. It starts anew where the level rises.

    ``level`` is the strip of the plan that is followed, from 0. It changes between steps only: an estimate of
    one branch and a computed other one would add their errors, where two estimates cancel part of them.
    """

    margin: float
    most: int
    level: int = 0
    raised_at: int = -1
    looked_at: int = -1
    waiting: deque[Comparison] = field(default_factory=deque)
    recent: list[float] = field(default_factory=list)
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
        """For each sample its error over the expected one, as root mean square over all comparisons."""
        while self.waiting:
            self._read(self.waiting.popleft())
        return [math.sqrt(total / self.count) for total in self.total]

    def _read(self, comparison: Comparison) -> None:
        expected = max(comparison.expected, FLOOR) ** 2
        ratios = [square / expected for square in comparison.squared.read()]
        if not self.total:
            self.total, self.recent = [0.0] * len(ratios), [1.0] * len(ratios)
        samples = min(len(self.total), len(ratios))
        known, recent, newest = (of_samples(part, samples) for part in (self.total, self.recent, ratios))
        self.total, self.count = [a + b for a, b in zip(known, newest, strict=True)], self.count + 1
        if comparison.step > self.raised_at:
            self.recent = [a + SHARE * (b - a) for a, b in zip(recent, newest, strict=True)]
            self._judge()

    def _judge(self) -> None:
        # Doubt computes: what is not a number is too much.
        within = all(square <= self.margin**2 for square in self.recent)
        if not within and self.level < self.most:
            self.level, self.raised_at = self.level + 1, self.looked_at
            self.recent = [1.0] * len(self.recent)


def of_samples(squares: Sequence[float], samples: int) -> list[float]:
    """The mean over the branches of each sample, where a batch holds several, one branch after another."""
    branches = [squares[first : first + samples] for first in range(0, len(squares), samples)]
    return [mean(of_one) for of_one in zip(*branches, strict=True)]


@dataclass
class Watch:
    """Compares estimates with computed values in one branch.

    Args:
        anchors: how many computed values estimates are made of.
        course: where the comparisons go.
    """

    anchors: int
    course: Course
    coordinates: Coordinates = field(default_factory=lambda: Coordinates(COORDINATES))
    known: deque[Tensor] = field(default_factory=deque)

    def compare(self, step: Step, value: Tensor, weights: Sequence[float], expected: float) -> None:
        """Compare a computed value with its estimate, where there is one, and keep it for the next ones.

        Args:
            step: the computed step.
            value: what was computed, ``(batch, ...)``.
            weights: of the values kept before, newest first; empty where there are none.
            expected: the relative error that the record leads to expect.
        """
        seen, squared = self.coordinates.compare(value, self.known if weights else (), weights)
        if weights:
            self.course.waiting.append(Comparison(step.index, expected, Late(squared)))
        self.known.appendleft(seen)
        while len(self.known) > self.anchors:
            self.known.pop()
