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
