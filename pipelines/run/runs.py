"""All runs of a pipeline in progress, and which of them a call belongs to."""

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from operator import attrgetter
from types import TracebackType
from typing import Any

from torch import nn

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.run.conditioning import Conditioning, conditioning
from skipstone.pipelines.run.model_time import ModelTime, model_time
from skipstone.pipelines.run.per_task import PerTask, here
from skipstone.pipelines.run.pipeline_calls import PipelineCall
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.samplers import draws_noise
from skipstone.pipelines.run.schedule import Schedule
from skipstone.pipelines.run.schedulers import Following, Taken
from skipstone.pipelines.run.settling import settle
from skipstone.pipelines.run.telling_apart import first_of, fitting_runs, is_again, one_of

OUTSIDE = "it was called outside a run's steps, and that was not cached"
AMBIGUOUS = (
    "a call could belong to several runs, so it was computed: name them, by `with cache.run(key, steps=...)`"
)

MOST_WAITING = 256
"""The most named runs that wait for their next step; beyond that, the oldest ones begin anew."""


@dataclass(frozen=True)
class Match:
    """The run and the conditioning of a model's call.

    Args:
        run: the run.
        conditioning: the call's conditioning.
    """

    run: Run
    conditioning: Conditioning


class Runs:
    """Find the run of each call: by the scheduler's time, by the conditioning, and by what follows.

    The run of a first call may have to be guessed among several. That is safe: nothing is reused in a first
    call, and the next step of a scheduler shows which run it was.

    Args:
        pipe: the pipeline; its ``scheduler`` is followed, with its copies.
        current: returns the pipeline's call in progress.
        on_begin: called on the first call or step of a run.
        on_step: called after each step that a run takes, with the step.
        on_end: called when a run ends, in whatever way.
    """

    def __init__(
        self,
        pipe: Any,
        current: Callable[[], PipelineCall | None],
        on_begin: Callable[[Run], None],
        on_step: Callable[[Run, Step], None],
        on_end: Callable[[Run], None],
    ) -> None:
        self._pipe = weakref.ref(pipe)
        self._current = current
        self._on_begin = on_begin
        self._on_step = on_step
        self._on_end = on_end
        self._lock = threading.RLock()
        self._named: PerTask[NamedRun | None] = PerTask(None)
        self._last: PerTask[Run | None] = PerTask(None)
        self._by_scheduler: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()
        self._by_key: dict[Hashable, NamedRun] = {}
        self._paced: dict[PipelineCall, Run] = {}
        self._batch = 0
        self._following = Following(self)
        self.notice(pipe)

    @property
    def open(self) -> list[Run]:
        """The runs in progress."""
        with self._lock:
            found = [*self._by_scheduler.values(), *map(attrgetter("run"), self._by_key.values())]
            found += self._paced.values()
        return list(filterfalse(attrgetter("ended"), dict.fromkeys(found)))

    def notice(self, pipe: Any) -> None:
        """Follow the pipeline's scheduler, which may have been replaced."""
        scheduler = pipe.scheduler
        # A scheduler that was only created has the training timesteps, which no run follows.
        if self._following.follow(scheduler) and getattr(scheduler, "num_inference_steps", None) is not None:
            self.on_set(scheduler)

    def find(
        self,
        name: str,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: str | None = None,
    ) -> Match | str:
        """Find the run of a call and move it to the call's step; if there is none, return why.

        Args:
            name: the model's name.
            model: the model.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.
            context: the pipeline's name for the call, or None.
        """
        pipe = self._pipe()
        if pipe is not None:
            self.notice(pipe)
        time, given = model_time(model, args, kwargs), conditioning(model, args, kwargs)
        with self._lock:
            found = self._find(name, time, given, context)
            if isinstance(found, str):
                return found
            run, index = found
            if not run.is_written_down:
                self._begin(run)
            run.enter(index, None if run in self._paced.values() else time)
            self._last.set(run)
            self._batch += 1
            return Match(run, given)

    def name(self, key: Hashable, steps: int) -> "NamedRun":
        """The run of a key; a new one if none is in progress."""
        with self._lock:
            named = self._by_key.get(key)
            if named is None or named.run.ended:
                run = Run(Schedule.counted(steps), context=here(), batch=self._batch)
                run.count_by_itself()
                named = self._by_key[key] = NamedRun(self, key, run)
            while len(self._by_key) > MOST_WAITING:
                self._by_key[next(iter(self._by_key))].end()
            return named

    @property
    def named(self) -> "NamedRun | None":
        """The named run of calls from this thread or task."""
        return self._named.get()

    @named.setter
    def named(self, run: "NamedRun | None") -> None:
        self._named.set(run)

    def pace(self, call: PipelineCall, steps: int) -> Run:
        """A run of a pipeline's call whose steps `tell` tells, where each frame has a scheduler of its own.

        What these schedulers do is ignored until the call ends.
        """
        with self._lock:
            self._end_paced(call)
            run = self._paced[call] = Run(Schedule.counted(steps), call=call, context=here())
            run.count_by_itself()
            return run

    def tell(self, run: Run, index: int) -> None:
        """Move such a run to the step of the coming calls."""
        if run.began and index != run.index:
            self._on_step(run, run.step)
        run.told = index

    def _end_paced(self, call: PipelineCall) -> None:
        run = self._paced.pop(call, None)
        if run is None:
            return
        if run.began:
            self._on_step(run, run.step)
        self.end(run)

    def forget(self, key: Hashable, named: "NamedRun") -> None:
        """Free a key for another run."""
        if self._by_key.get(key) is named:
            del self._by_key[key]

    def end(self, run: Run) -> None:
        """End a run. A second call does nothing."""
        if not run.ended:
            run.ended = True
            self._on_end(run)
            run.models.clear()

    def end_call(self, call: PipelineCall) -> None:
        """End the runs of a finished pipeline call."""
        self._end_paced(call)
        for run in self.open:
            if run.call is call:
                self.end(run)

    def stop(self) -> None:
        """End all runs, and restore all schedulers."""
        self._following.stop()
        for run in self.open:
            self.end(run)
        self._by_scheduler.clear()
        self._by_key.clear()
        self._paced.clear()

    # What schedulers do

    def on_set(self, scheduler: Any) -> None:
        if self._current() in self._paced:
            return
        with self._lock:
            self._following.saw(scheduler)
            before = self._by_scheduler.get(scheduler)
            if before is not None and before.scheduler is scheduler:
                self.end(before)
            self._by_scheduler[scheduler] = self._new_run(scheduler)

    def on_step(self, scheduler: Any, taken: Taken) -> None:
        if self._current() in self._paced:
            return
        time = ModelTime(taken.timestep) if taken.timestep is not None else None
        with self._lock:
            self._batch += 1
            self._following.saw(scheduler)
            pipe = self._pipe()
            run, is_own = self._driven_by(scheduler, time), pipe is not None and pipe.scheduler is scheduler
            if run.ended:
                return
            if draws_noise(scheduler, taken.arguments):
                run.noisy_sampler = type(scheduler).__name__
            if not run.is_written_down and (run.began or is_own):
                self._begin(run)
            has_moved_on = run.take(time)
            self._last.set(run)
            if not has_moved_on:
                run.repeats = True
                return
            settle(run, scheduler, taken)
            self._on_step(run, run.step)
            if run.finished:
                self.end(run)

    def _begin(self, run: Run) -> None:
        run.is_written_down = True
        self._on_begin(run)

    def _new_run(self, scheduler: Any) -> Run:
        return Run(Schedule.of(scheduler), scheduler, self._current(), here(), self._batch)

    def _driven_by(self, scheduler: Any, time: ModelTime | None) -> Run:
        """The run that a scheduler drives; its step shows to which run earlier calls belonged."""
        own = self._by_scheduler.get(scheduler)
        if own is None:
            own = self._by_scheduler[scheduler] = self._new_run(scheduler)
        named, last = self._named.get(), self._last.get()
        if named is not None:
            return own if own is named.run else self._give(scheduler, named.run)
        if own.began or last in (None, own) or last.ended or last.is_named or last.call is not own.call:
            return own
        if last.pending and not last.driven:
            return self._give(scheduler, last)
        if last.driven and last.trusted and last.schedule == own.schedule and last.is_at(time):
            # A copy that steps for another frame.
            last.drive_by(scheduler)
            own = self._by_scheduler[scheduler] = last
        return own

    def _give(self, scheduler: Any, run: Run) -> Run:
        """Give a run to a scheduler, and the scheduler's former run to the one that drove it by mistake."""
        own, other = self._by_scheduler[scheduler], run.scheduler
        run.follow(own.schedule, scheduler)
        self._by_scheduler[scheduler] = run
        if other is not None and self._by_scheduler.get(other) is run:
            self._by_scheduler[other] = self._new_run(other)
            self._by_scheduler[other].batch = own.batch
        return run

    # Whose a call is

    def _find(
        self, name: str, time: ModelTime | None, given: Conditioning, context: str | None
    ) -> tuple[Run, int] | str:
        named, call = self._named.get(), self._current()
        if call is not None and call in self._paced:
            return self._paced[call], self._paced[call].told
        if named is not None:
            return self._in_named(named.run, time)
        # A run that was begun outside may be stepped in a callback: its scheduler's own time tells.
        possible = [run for run in self.open if not run.is_named and (run.call is call or run.drives(time))]
        fitting = fitting_runs(possible, time, believed=call is not None and len(possible) == 1)
        fitting = fitting or fitting_runs(self._begun_again(call), time, believed=False)
        if not fitting:
            return OUTSIDE
        found = fitting[0] if len(fitting) == 1 else one_of(fitting, name, time, given, self._last.get())
        if found is None:
            for run, _ in fitting:
                run.forget()
            return AMBIGUOUS
        is_shared = len(fitting) > 1 or found[0].is_shared
        if is_shared and is_again(*found, name, given, context):
            found[0].trusted = False
        return found if found[0].trusted else AMBIGUOUS

    def _in_named(self, run: Run, time: ModelTime | None) -> tuple[Run, int] | str:
        if run.is_free and not run.began:
            self._lend(run, time)
        index = run.fits(time, believed=True)
        return OUTSIDE if index is None else (run, index)

    def _lend(self, run: Run, time: ModelTime | None) -> None:
        """Give a named run the scheduler that waits for it, or the steps of one that another run follows."""
        alike = [one for one in self._by_scheduler.values() if one.serves(run, time)]
        waiting = [one for one in alike if not (one.began or one.ended or one.is_named)]
        first = first_of([(one, 0) for one in waiting], time)
        if first is not None and first[0].scheduler is not None:
            self._give(first[0].scheduler, run)
        elif alike:
            run.borrow(alike[0].schedule)

    def _begun_again(self, call: PipelineCall | None) -> list[Run]:
        """New runs for schedulers whose run in this call is over, since a pipeline may start another pass."""
        if call is None:
            return []
        over = [run for run in self._by_scheduler.values() if run.call is call and run.ended]
        again = [self._new_run(run.scheduler) for run in over if run.scheduler is not None]
        for run in again:
            self._by_scheduler[run.scheduler] = run
        return again


class NamedRun:
    """A run that a program names, since only the program knows which calls belong to it.

    Enter it for each step, or once for a loop of steps. It ends when all of its steps are taken, after `end`,
    after an exception, or when a block with several steps is left, since such a block is a loop.

    Args:
        runs: the pipeline's runs.
        key: the run's name.
        run: the run.
    """

    def __init__(self, runs: Runs, key: Hashable, run: Run) -> None:
        self._runs = runs
        self._key = key
        self._entered: list[tuple[NamedRun | None, int]] = []
        self.run = run
        run.is_named = True

    @property
    def stats(self) -> Any:
        """Its statistics so far."""
        return self.run.log.stats()

    def end(self) -> None:
        """End the run, and free what it holds."""
        self._runs.end(self.run)
        self._runs.forget(self._key, self)

    def __enter__(self) -> "NamedRun":
        if self.run.ended:
            raise RuntimeError(f"the run {self._key!r} is over; cache.run({self._key!r}, ...) begins another")
        self.run.turn()
        self._entered.append((self._runs.named, self.run.index if self.run.began else -1))
        self._runs.named = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runs.named, before = self._entered.pop()
        if kind is not None or (not self._entered and (self.run.finished or self.run.index > before + 1)):
            self.end()
