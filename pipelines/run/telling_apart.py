"""Which of several runs a call belongs to: by its time, its conditioning, and the calls before it."""

from collections.abc import Iterable

from skipstone.pipelines.run.conditioning import Conditioning
from skipstone.pipelines.run.model_time import ModelTime
from skipstone.pipelines.run.per_task import here
from skipstone.pipelines.run.run import Run


def fitting_runs(runs: Iterable[Run], time: ModelTime | None, believed: bool) -> list[tuple[Run, int]]:
    """The runs that a call at a time may belong to, each with the step that it would be.

    Args:
        runs: the runs in question.
        time: the time in the call; None if the model takes no time.
        believed: whether to trust the scheduler if reading the time would wait for the device.
    """
    fitting = []
    for run in runs:
        index = run.fits(time, believed)
        if index is not None:
            fitting.append((run, index))
    return fitting


def one_of(
    fitting: list[tuple[Run, int]], name: str, time: ModelTime | None, given: Conditioning, last: Run | None
) -> tuple[Run, int] | None:
    """Which of several fitting runs a call belongs to; None if that cannot be decided.

    Args:
        fitting: the runs, each with the step that the call would be.
        name: the model's name.
        time: the time in the call; None if the model takes no time.
        given: the call's conditioning.
        last: the run of this thread's or task's latest call or step; None before the first.
    """
    exact = [one for one in fitting if one[0].drives(time)]
    if len(exact) == 1:
        return exact[0]
    near = [one for one in fitting if one[0].context is here()]
    pending = [one for one in near if one[0].pending and one[0].index == one[1]]
    waiting = [one for one in near if not one[0].began]
    knowing = [one for one in fitting if one[0].knows(name, given)]
    if knowing and not (waiting and all(run.taken_at(index) for run, index in knowing)):
        return knowing[0] if len(knowing) == 1 else None
    if len(pending) == 1:
        return pending[0]
    if waiting:
        return first_of(waiting, time)
    latest = [one for one in near if one[0] is last]
    return latest[0] if latest else (near[0] if len(near) == 1 else None)


def first_of(waiting: list[tuple[Run, int]], time: ModelTime | None) -> tuple[Run, int] | None:
    """Among runs that wait for their first call, the first one of the latest batch."""
    exact = [one for one in waiting if one[0].drives(time)]
    latest = max((run.batch for run, _ in waiting), default=0)
    return next((one for one in exact or waiting if exact or one[0].batch == latest), None)


def is_again(run: Run, index: int, name: str, given: Conditioning, context: str | None) -> bool:
    """Whether this step has had such a call before, so that two trajectories could not be told apart."""
    return index == run.index and run.pending and run.used(name, given, context)
