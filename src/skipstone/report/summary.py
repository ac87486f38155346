"""Sum up rows: one line for each setting, over all prompts and seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from skipstone.metrics.comparison import METRICS, Metric
from skipstone.report.pace import Pace, paced, speedups
from skipstone.report.rows import CACHED, MEASURED, PLAIN, REPEAT, SWEEP, UNCACHED, unit_of

ENOUGH = 0.1
"""The least share of steps that a setting skips to tell what one takes: less is lost in how runs differ."""


@dataclass(frozen=True)
class Spread:
    """One metric of one setting over prompts and seeds.

    Args:
        mean: the mean over clips.
        low: the value that 5% of the clips fall behind.
        worst: the worst clip's value.
        best: the best clip's value.
        worst_frame: the worst frame's value, over all clips.
    """

    mean: float
    low: float
    worst: float
    best: float
    worst_frame: float


@dataclass(frozen=True)
class Line:
    """One setting over prompts and seeds.

    Args:
        kind: the kind of its rows.
        method: the method's label; empty without a method.
        setting: the method's settings.
        rows: one for each prompt and seed.
        speedup: of the denoising loop, against uncached runs of the same prompt and seed; the median.
        call_speedup: the same for the whole call.
        slowest: the smallest speedup of the loop.
        fastest: the largest speedup of the loop.
        computed_share: the share of computed evaluations, the mean.
        steps: denoising steps.
        bytes_held: the most bytes held for reuse.
        scores: the spread of each metric that all rows have, by its name.
    """

    kind: str
    method: str
    setting: str
    rows: Sequence[Mapping[str, Any]]
    speedup: float
    call_speedup: float
    slowest: float
    fastest: float
    computed_share: float
    steps: int
    bytes_held: int
    scores: Mapping[str, Spread]

    @property
    def title(self) -> str:
        """The setting's name in a sentence."""
        if self.kind == CACHED:
            return " ".join((self.method.partition(":")[0], self.setting.replace(" ", ", "))).strip()
        return {UNCACHED: "uncached", REPEAT: "uncached again", PLAIN: f"{self.steps} plain steps"}[self.kind]

    def reaches(self, metric: Metric, target: float, worst: bool = False) -> bool:
        """Whether its quality reaches a target, on average over the runs or in the worst one."""
        score = self.scores[metric.name]
        value = score.worst if worst else score.mean
        return value >= target if metric.higher_is_better else value <= target

    def worst_row(self, metric: Metric) -> Mapping[str, Any]:
        """The row of the worst prompt and seed; one that is without the metric is worst of all."""
        for row in self.rows:
            if metric.name not in row:
                return row
        value = metric.worst(row[metric.name] for row in self.rows)
        return next(row for row in self.rows if row[metric.name] == value)


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """The lines of a sweep, by kind, method in the order of measurement, and speed."""
    groups: dict[tuple[Any, ...], list[tuple[Mapping[str, Any], Pace | None]]] = {}
    for row, pace in paced(rows):
        setting = row["kind"], row["method"], row["setting"], row["steps_asked"]
        groups.setdefault(setting, []).append((row, pace))
    lines = [_line(group) for group in groups.values()]
    methods = list(dict.fromkeys(line.method for line in lines))
    return sorted(
        lines, key=lambda line: (MEASURED.index(line.kind), methods.index(line.method), line.speedup)
    )


def left_out(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What no sweep of a file could measure, and why; plans are named by method and speed."""
    reasons: dict[str, str] = {}
    measured: set[str] = set()
    for row in rows:
        if row["kind"] == SWEEP:
            reasons |= row["left_out"]
        elif row["kind"] in MEASURED:
            speed = row["setting"].removeprefix("speedup=")
            measured |= {row["method"], f"{row['method']} at {speed}x"}
    return {name: reason for name, reason in reasons.items() if name not in measured}


def skip_cost(lines: Sequence[Line]) -> float | None:
    """What a skipped step took of a computed one: the median of the settings that skip enough whole steps."""
    whole = [line for line in lines if line.kind == CACHED and not any(row.get("parts") for row in line.rows)]
    shares = [(line.computed_share, 1 / line.speedup) for line in whole if line.computed_share <= 1 - ENOUGH]
    return median((time - share) / (1 - share) for share, time in shares) if shares else None


def _line(runs: Sequence[tuple[Mapping[str, Any], Pace | None]]) -> Line:
    # Processes finish in any order; the result must not depend on it.
    rows = sorted((row for row, _ in runs), key=unit_of)
    speeds, call_speeds = zip(*(speedups(row, pace) for row, pace in runs), strict=True)
    return Line(
        kind=rows[0]["kind"],
        method=rows[0]["method"],
        setting=rows[0]["setting"],
        rows=rows,
        speedup=median(speeds),
        call_speedup=median(call_speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        computed_share=mean(row["computed_share"] for row in rows),
        steps=rows[0]["steps"],
        bytes_held=max(row["bytes_held"] for row in rows),
        scores={
            name: _spread(metric, rows)
            for name, metric in METRICS.items()
            if all(name in row for row in rows)
        },
    )


def _spread(metric: Metric, rows: Sequence[Mapping[str, Any]]) -> Spread:
    values = [row[metric.name] for row in rows]
    return Spread(
        mean=mean(values),
        low=metric.low(values),
        worst=metric.worst(values),
        best=max(values) if metric.higher_is_better else min(values),
        worst_frame=metric.worst(row[f"{metric.name}_worst"] for row in rows),
    )
