"""How long a prompt and seed take without a cache, estimated from all of their uncached runs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from skipstone.report.rows import MEASURED, PLAIN, REPEAT, SWEEP, UNCACHED, Row, unit_of


@dataclass(frozen=True)
class Pace:
    """The time of runs without a cache.

    A single run may hit a busy moment of the machine; compared with that run alone, everything would look
    faster.

    Args:
        steps: the steps of a full run.
        step_seconds: the time of the denoising loop for each step, the median over full and shorter runs.
        other_seconds: the time of the call outside its loop, the median.
    """

    steps: int
    step_seconds: float
    other_seconds: float

    def speedup(self, row: Row) -> float:
        """How much faster a run's loop is than the loop of a full run."""
        return self.steps * self.step_seconds / float(row["loop_seconds"])

    def call_speedup(self, row: Row) -> float:
        """How much faster a run's call is than the call of a full run."""
        return (self.steps * self.step_seconds + self.other_seconds) / float(row["call_seconds"])


def speedups(row: Row, pace: Pace | None) -> tuple[float, float]:
    """The speedups of a run's loop and call; without a known pace, those noted in its row."""
    if pace is None:
        return row["speedup"], row["call_speedup"]
    return pace.speedup(row), pace.call_speedup(row)


def paced(rows: Iterable[Row]) -> Iterator[tuple[Row, Pace | None]]:
    """Each measured row, and the pace of its prompt and seed in the same sweep.

    A file can go on another day or on another machine, where everything takes another time.
    """
    for sweep in _sweeps(rows):
        known = _paces(sweep)
        yield from ((row, known.get(unit_of(row))) for row in sweep)


def _sweeps(rows: Iterable[Row]) -> list[list[Row]]:
    """The measured rows of each sweep; each begins with its header."""
    found: list[list[Row]] = [[]]
    for row in rows:
        if row["kind"] == SWEEP:
            found.append([])
        elif row["kind"] in MEASURED:
            found[-1].append(row)
    return found


def _paces(rows: Iterable[Row]) -> dict[tuple[str, int], Pace]:
    """The pace of every prompt and seed with a full run."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["kind"] in (UNCACHED, REPEAT, PLAIN):
            found.setdefault(unit_of(row), []).append(row)
    full = {unit_of(row): row["steps"] for its in found.values() for row in its if row["kind"] == UNCACHED}
    return {unit: _pace(found[unit], steps) for unit, steps in full.items()}


def _pace(rows: Sequence[Row], steps: int) -> Pace:
    return Pace(
        steps=steps,
        step_seconds=median(row["loop_seconds"] / row["steps"] for row in rows),
        other_seconds=median(row["call_seconds"] - row["loop_seconds"] for row in rows),
    )
