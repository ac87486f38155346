"""Recording one uncached run of a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

from skipstone.cachers.recorders.run import Recorder
from skipstone.pipelines.attach import Watcher, attach
from skipstone.pipelines.model.models import models_of
from skipstone.pipelines.planning.conditions import conditions
from skipstone.pipelines.planning.tapes import record_of
from skipstone.pipelines.recording.rehearsal import Rehearsal
from skipstone.schedules.record import Record


def record(pipe: Any, /, *args: Any, **kwargs: Any) -> Record:
    """Run a pipeline once, uncached, and keep what every schedule would do on such runs.

    The record plans for the run's own steps, size and guidance: record as you will run. Its `plan` runs
    candidates with the same arguments and other random numbers, beside one more uncached run, since on the
    recorded run everything fits better than it will ever fit again. Several prompts in one call make a record
    of them all.

    Args:
        pipe: a diffusers pipeline without a cache.
        args: the pipeline's own, such as a prompt.
        kwargs: likewise.

    Raises:
        TypeError: ``pipe`` is no pipeline.
        ValueError: the pipeline has a cache, or its run had nothing that could be planned.
    """
    return record_call(pipe, args, kwargs)


def record_call(
    pipe: Any, args: Sequence[Any], kwargs: Mapping[str, Any], watch: Watcher | None = None
) -> Record:
    """`record`, with a function that is called after each step of each run."""
    rehearsal, recorder = Rehearsal(pipe, args, kwargs, watch), Recorder()
    with attach(pipe, recorder) as cache:
        if watch is not None:
            cache.watch(watch)
        made = rehearsal.run()
        tapes = {model: tape for model, tape in recorder.tapes.items() if tape.seen}
        if not tapes:
            raise ValueError("; ".join(("nothing was recorded", *cache.last_run.notes)))
    run = next(iter(tapes.values())).run
    made_for = conditions(pipe, {name: models_of(pipe)[name] for name in tapes}, run)
    return record_of(made_for, tapes, len(made), rehearsal.with_other_noise())
