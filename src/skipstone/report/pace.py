"""How fast a prompt and seed is computed without a cache, by all of its runs that have none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from skipstone.report.rows import PLAIN, REPEAT, UNCACHED, unit_of


@dataclass(frozen=True)
class Pace:
    """What runs without a cache take.

    A single run may meet a busy moment of the machine, and would make everything look faster that is compared
    with it alone.

    Args:
        steps: of a full run.
        step_seconds: of the denoising loop for each step, median of the full and the shorter runs.
        other_seconds: of the call without its loop, median.
    """

    steps: int
    step_seconds: float
    other_seconds: float

    def speedup(self, row: Mapping[str, Any]) -> float:
        """How much faster a run's loop is than a full one's."""
        return self.steps * self.step_seconds / float(row["loop_seconds"])

    def call_speedup(self, row: Mapping[str, Any]) -> float:
        """How much faster a run's call is than a full one's."""
        return (self.steps * self.step_seconds + self.other_seconds) / float(row["call_seconds"])


def speedups(row: Mapping[str, Any], known: Mapping[tuple[str, int], Pace]) -> tuple[float, float]:
    """How much faster a run is in its loop and in its call; as it was noted where no pace is known."""
    pace = known.get(unit_of(row))
    if pace is None:
        return row["speedup"], row["call_speedup"]
    return pace.speedup(row), pace.call_speedup(row)


def paces(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Pace]:
    """The pace of every prompt and seed that was run in full."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] in (UNCACHED, REPEAT, PLAIN):
            found.setdefault(unit_of(row), []).append(row)
    full = {unit_of(row): row["steps"] for its in found.values() for row in its if row["kind"] == UNCACHED}
    return {unit: _pace(found[unit], steps) for unit, steps in full.items()}


def _pace(rows: Sequence[Mapping[str, Any]], steps: int) -> Pace:
    return Pace(
        steps=steps,
        step_seconds=median(row["loop_seconds"] / row["steps"] for row in rows),
        other_seconds=median(row["call_seconds"] - row["loop_seconds"] for row in rows),
    )
