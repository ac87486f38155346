"""What rows of several sweeps in one file say of speeds, and of what was left out."""

from typing import Any

from skipstone.report.pace import paced, speedups
from skipstone.report.summary import left_out

HEADER = {"kind": "sweep"}


def run(kind: str, seconds: float, steps: int = 10, **noted: Any) -> dict[str, Any]:
    """A run whose call takes a second beside its loop."""
    timed = {"loop_seconds": seconds, "call_seconds": seconds + 1, "steps": steps}
    return {"kind": kind, "prompt": "a", "seed": 0, **timed, **noted}


def told(*rows: dict[str, Any]) -> list[tuple[float, float]]:
    """The speedups of the cached runs."""
    return [speedups(row, pace) for row, pace in paced(rows) if row["kind"] == "cached"]


def test_the_median_step_of_all_uncached_runs_counts() -> None:
    uncached = run("uncached", 30), run("repeat", 10), run("plain", 5, steps=5)
    assert told(HEADER, *uncached, run("cached", 5)) == [(2.0, 11 / 6)]


def test_a_file_that_went_on_has_a_pace_for_each_sweep() -> None:
    first = HEADER, run("uncached", 10), run("cached", 5)
    slower = HEADER, run("uncached", 40), run("cached", 10)
    assert [loop for loop, _ in told(*first, *slower)] == [2.0, 4.0]


def test_without_uncached_runs_of_its_sweep_the_noted_speed_counts() -> None:
    noted = run("cached", 10, speedup=3.0, call_speedup=2.5)
    assert told(HEADER, run("uncached", 10), HEADER, noted) == [(3.0, 2.5)]


def test_what_a_later_sweep_measured_is_not_left_out() -> None:
    first = {"kind": "sweep", "left_out": {"deepcache": "no UNet", "planned at 4x": "too fast", "pab": "no"}}
    later = {"kind": "sweep", "left_out": {"planned at 5x": "too fast"}}
    rows = [first, later, run("cached", 5, method="planned", setting="speedup=4")]
    rows += [run("cached", 5, method="pab", setting="")]
    assert left_out(rows) == {"deepcache": "no UNet", "planned at 5x": "too fast"}


def test_what_an_earlier_sweep_measured_is_not_left_out() -> None:
    later = {"kind": "sweep", "left_out": {"planned": "too fast", "planned at 20x": "too fast"}}
    rows = [{"kind": "sweep", "left_out": {}}, run("cached", 5, method="planned", setting="speedup=2"), later]
    assert left_out(rows) == {"planned at 20x": "too fast"}
