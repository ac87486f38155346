"""How methods compare with fewer plain steps, which need no code and no memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skipstone.metrics.comparison import METRICS, Metric
from skipstone.report.rows import CACHED, PLAIN
from skipstone.report.summary import Line


@dataclass(frozen=True)
class Standing:
    """One method on one model.

    Args:
        method: the method's label in the rows.
        lines: its settings, slowest first.
        margins: how much better each setting is than fewer plain steps at the same speed, in the metric's
            unit; minus infinity if it is not faster than computing every step.
        metric: the metric of quality.
    """

    method: str
    lines: Sequence[Line]
    margins: Sequence[float]
    metric: Metric

    @property
    def better(self) -> list[Line]:
        """The settings that are better than fewer plain steps."""
        return [line for line, margin in zip(self.lines, self.margins, strict=True) if margin > 0]

    def fastest(self, target: float, worst: bool = False) -> Line | None:
        """The fastest setting that reaches a quality, on average or in the worst run; None if none does."""
        faster = (line for line in self.lines if line.speedup > 1)
        good = (line for line in faster if line.reaches(self.metric, target, worst))
        return max(good, key=lambda line: line.speedup, default=None)

    def words(self) -> str:
        """The comparison as a sentence."""
        name, better = "fewer plain steps", self.better
        if not better:
            return f"Worse than {name} at every setting that was measured."
        gains = [margin for margin in self.margins if margin > 0]
        unit, digits = f" {self.metric.unit}".rstrip(), self.metric.digits
        if len(better) == len(self.lines):
            low, high = f"{min(gains):.{digits}f}", f"{max(gains):.{digits}f}"
            return f"Better than {name} at every setting, by {low} to {high}{unit}."
        speeds = ", ".join(f"{line.speedup:.1f}x" for line in better)
        return (
            f"Better than {name} at {len(better)} of {len(self.lines)} settings ({speeds}), by up to "
            f"{max(gains):.{digits}f}{unit}; worse at the others."
        )


def standings(lines: Sequence[Line], name: str = "psnr") -> list[Standing]:
    """The standing of every method of a sweep, in the order of the lines.

    Args:
        lines: the lines of all settings and of fewer plain steps.
        name: the name of the metric of quality.
    """
    metric = METRICS[name]
    measured = [line for line in lines if name in line.scores]
    plain = [line for line in measured if line.kind == PLAIN]
    found: dict[str, list[Line]] = {}
    for line in measured:
        if line.kind == CACHED:
            found.setdefault(line.method, []).append(line)
    return [
        Standing(method, its, [margin(line, plain, metric) for line in its], metric)
        for method, its in found.items()
    ]


def foremost(lines: Sequence[Line], name: str, count: int) -> list[str]:
    """The methods that are furthest above fewer plain steps at one of their settings, best first."""
    found = sorted(standings(lines, name), key=lambda standing: max(standing.margins), reverse=True)
    return [standing.method for standing in found[:count]]


def margin(line: Line, plain: Sequence[Line], metric: Metric) -> float:
    """How much better a setting is than fewer plain steps at the same speed; positive is better.

    The quality of plain steps is interpolated over the logarithm of the speed, and constant beyond the
    measured ends.

    Args:
        line: the setting.
        plain: the lines of fewer plain steps; without any, the margin is infinite.
        metric: the metric of quality.
    """
    if line.speedup <= 1:
        return -math.inf
    if not plain:
        return math.inf
    points = sorted((math.log(other.speedup), other.scores[metric.name].mean) for other in plain)
    expected = np.interp(math.log(line.speedup), [x for x, _ in points], [y for _, y in points])
    gain = line.scores[metric.name].mean - float(expected)
    return gain if metric.higher_is_better else -gain
