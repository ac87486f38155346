"""How methods stand against fewer plain steps, which cost nothing to write and nothing to hold."""

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
        method: its label in the rows.
        lines: its settings, slow first.
        margins: by how much each is better than fewer plain steps of the same speed, in the metric's unit;
            minus infinity where it is not faster than computing every step.
        metric: what quality is.
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
        """The fastest setting of a quality, on average over the runs or of the worst one; None without it."""
        faster = (line for line in self.lines if line.speedup > 1)
        good = (line for line in faster if line.reaches(self.metric, target, worst))
        return max(good, key=lambda line: line.speedup, default=None)

    def words(self) -> str:
        """A sentence."""
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
    """Every method of a sweep, in the order of the lines.

    Args:
        lines: those of all settings, of fewer plain steps too.
        name: of the metric that says what quality is.
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


def margin(line: Line, plain: Sequence[Line], metric: Metric) -> float:
    """By how much a setting is better than fewer plain steps of the same speed, higher for better.

    Between two numbers of steps that were measured their quality is interpolated over the logarithm of the
    speed; beyond the first and the last it is theirs.

    Args:
        line: the setting.
        plain: fewer plain steps; without any there is nothing to be better than.
        metric: what quality is.
    """
    if line.speedup <= 1:
        return -math.inf
    if not plain:
        return math.inf
    points = sorted((math.log(other.speedup), other.scores[metric.name].mean) for other in plain)
    expected = np.interp(math.log(line.speedup), [x for x, _ in points], [y for _, y in points])
    gain = line.scores[metric.name].mean - float(expected)
    return gain if metric.higher_is_better else -gain
