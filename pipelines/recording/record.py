"""Record one uncached run of a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

from skipstone.cachers.recorders.run import Recorder
from skipstone.pipelines.model.models import models_of
from skipstone.pipelines.planning.conditions import conditions
from skipstone.pipelines.planning.record_of_run import record_of
from skipstone.pipelines.recording.rehearsal import Lines, Rehearsal
from skipstone.schedules.record import Record


def record(pipe: Any, /, *args: Any, **kwargs: Any) -> Record:
    """Run a pipeline once, uncached, and record what is needed to plan later runs.

    The record holds for the run's own steps, size and guidance, so record as you will run. Its `plan` method
    runs candidates with the same arguments and other random numbers, and one more uncached run for
    comparison: on the recorded run every plan looks better than it is. Several prompts in one call make one
    record of all of them.

    Args:
        pipe: a diffusers pipeline without a cache.
        args: positional arguments of the pipeline's call, such as a prompt.
        kwargs: keyword arguments of the pipeline's call.

    Raises:
        TypeError: ``pipe`` is not a pipeline.
        ValueError: the pipeline has a cache, or nothing in its run can be planned.
    """
    return record_call(pipe, args, kwargs)


def record_call(
    pipe: Any, args: Sequence[Any], kwargs: Mapping[str, Any], lines: Lines | None = None
) -> Record:
    """`record`, with something that shows each run."""
    rehearsal, recorder = Rehearsal(pipe, args, kwargs, lines), Recorder()
    made, seen = rehearsal.under(recorder, "recording")
    tapes = {model: tape for model, tape in recorder.tapes.items() if tape.seen}
    if not tapes:
        raise ValueError("; ".join(("nothing was recorded", *seen.notes)))
    run = next(iter(tapes.values())).run
    made_for = conditions(pipe, {name: models_of(pipe)[name] for name in tapes}, run)
    return record_of(made_for, tapes, len(made), rehearsal.with_other_noise())
