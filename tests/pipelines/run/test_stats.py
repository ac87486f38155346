"""What a run's statistics make of the times of its evaluations."""

import pytest
import torch

from skipstone.cachers.contract.words import Reason
from skipstone.pipelines.run.stats import LogEntry, RunLog
from skipstone.pipelines.run.stopwatch import Mark


def moment(seconds: float) -> Mark:
    mark = Mark(torch.device("cpu"))
    mark._time = seconds
    return mark


def entry(step: int, seconds: float, computed: bool) -> LogEntry:
    reason = Reason.PLANNED if computed else None
    return LogEntry("transformer", "", step, reason, moment(0.0), moment(seconds))


def test_the_cost_of_a_skipped_evaluation_is_not_that_of_the_first_one() -> None:
    """The first computed one warms the device up, and the first skipped one may compile kernels."""
    log = RunLog({})
    assert log.skip_cost() is None
    log.entries = [
        entry(0, 60.0, True),
        entry(1, 10.0, True),
        entry(2, 30.0, False),
        *(entry(step, 10.0, True) for step in (3, 5)),
        *(entry(step, 1.0, False) for step in (4, 6)),
    ]
    assert log.skip_cost() == pytest.approx(0.1)


def offloaded_run(first: float) -> RunLog:
    """Two computed steps of one second, and two skipped ones of half a second, after the first step."""
    log = RunLog({}, planned_steps=5, end=moment(first + 3.0))
    log.entries = [
        entry(0, first, True),
        *(entry(step, 1.0, True) for step in (1, 3)),
        *(entry(step, 0.5, False) for step in (2, 4)),
    ]
    log.entries[0].brought = True
    return log


def test_what_bringing_the_weights_took_is_told() -> None:
    """Computing all takes 9 seconds, of which the first 5 are always there."""
    (note,) = (log := offloaded_run(5.0)).stats().notes
    assert "took 4.0 s longer than the others, which no cache saves: at most 1.8x faster" in note
    log.planned_steps = 6
    assert not log.stats().notes, "the run goes on"


def test_what_is_not_felt_is_not_told() -> None:
    assert not offloaded_run(1.1).stats().notes


def test_a_call_that_brings_the_weights_is_no_usual_one() -> None:
    """The second model of a pipeline comes later in the run."""
    (log := offloaded_run(1.0)).entries[1] = entry(1, 60.0, True)
    log.entries[1].brought = True
    assert log.skip_cost() == pytest.approx(0.5)
    assert log.stats().speedup == pytest.approx(1 + 2 * (1.0 - 0.5) / 4.0)
