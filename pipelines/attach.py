"""Attach a caching method to a pipeline, and remove it again."""

import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Step
from skipstone.cachers.make import make
from skipstone.cachers.method_names import MethodName
from skipstone.declared import Positive, checked
from skipstone.pipelines.causal.shared_prefix import SharedPrefix, refuse_prefix
from skipstone.pipelines.engine import Engine
from skipstone.pipelines.memory.storage import storage
from skipstone.pipelines.model.adapters import adapter_signs
from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.model.models import MODELS, models_of
from skipstone.pipelines.model.other_caches import forwards, other_caches
from skipstone.pipelines.model.spread_weights import WRAPPED, is_wrapped
from skipstone.pipelines.opening.devices import find_device
from skipstone.pipelines.planning.autoplan import Autoplan
from skipstone.pipelines.planning.conditions import of_runs
from skipstone.pipelines.planning.promised import lost_by, with_promise
from skipstone.pipelines.run.call_log import CallLog
from skipstone.pipelines.run.controls import Controls
from skipstone.pipelines.run.pipeline_calls import PipelineCall, PipelineCalls
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.runs import NamedRun, Runs
from skipstone.pipelines.run.stats import RunStats
from skipstone.pipelines.run.stopwatch import Mark
from skipstone.schedules.plan import Plan
from skipstone.schedules.search import Speedup
from skipstone.schedules.shared import SharedPlans

Watcher = Callable[[Step, int, int], None]
"""Called after each step with the step and its numbers of computed and skipped evaluations. An evaluation
that was skipped in part counts as both.
"""

REMEMBERED = 100
"""With how many of the last runs that skipped something a run is compared."""

_attached: "weakref.WeakValueDictionary[int, CacheHandle]" = weakref.WeakValueDictionary()
"""The handles by the ids of their models; a model and its handle keep each other alive."""


@checked
def attach(
    pipe: Any,
    method: MethodName | str | Cacher[Any] | Plan | None = None,
    /,
    *,
    speedup: Speedup | None = None,
    plans: str | None = None,
    cache_device: str | torch.device | None = None,
    snapshots: str | None = None,
    graphs: bool = False,
    replace: bool = False,
    **hyperparameters: Any,
) -> "CacheHandle":
    """Attach a caching method to a pipeline; its next runs skip what the method allows.

    Args:
        pipe: a diffusers pipeline. It is called as before.
        method: the name of a method (``skipstone methods`` lists them), also with a predictor as in
            ``fora+taylor``; a method object; or a plan.
        speedup: the target speedup against computing every step, above 1, instead of a method. The first run
            of a kind computes every step and is recorded. Later runs follow a plan made from the record,
            which is kept in the user's cache folder.
        plans: a repository of the Hugging Face hub, such as ``me/plans``, beside a speedup. Before a run is
            recorded, its plans are looked through for one that was made for such runs. Where the hub does not
            answer, the run is recorded as always, and its line says so.
        cache_device: the device that keeps residuals between steps; by default the one that computed them.
            ``cpu`` saves GPU memory, but every computed and every skipped step copies them.
        snapshots: ``int8`` or ``fp8`` keeps residuals in 8 bits, with a scale for each 128 elements: half the
            memory of 16 bits. ``int8`` is more exact, as its groups are tokens of one channel
            (docs/planned.md). By default residuals keep the type that the model computes in.
        graphs: whether to capture skipped steps as CUDA graphs and replay them. This removes Python's time
            and most kernel launches, but holds a copy of the model's inputs, the estimate and the
            intermediate results. The first skipped step of each run checks the replay against the model's
            output. Steps that cannot be captured run as usual, and the run's notes say why.
        replace: whether to remove a skipstone cache that a model already has, after all other checks. By
            default that is an error.
        hyperparameters: the hyper-parameters of a method given by name.

    Returns:
        A handle with the statistics of the last run. As a context manager it removes the cache at its end.

    Raises:
        TypeError: ``pipe`` is not a pipeline, the method lacks a hyper-parameter, not exactly one of method
            and speedup is given, or plans without a speedup.
        ValueError: an unknown method, device or type of snapshots; a hyper-parameter outside its range; a
            model that the method cannot work on; or a model that already has a cache, of skipstone without
            ``replace`` or of another package.
    """
    if (method is None) == (speedup is None):
        raise TypeError(
            "give a method, such as 'teacache', or speedup=..., and not both; for a quality, which needs "
            "runs of the pipeline, attach what skipstone.record(pipe, ...).plan(quality=..., prompts=...) "
            "returns"
        )
    if speedup is not None and hyperparameters:
        given = ", ".join(hyperparameters)
        raise TypeError(f"a speedup has no hyper-parameters, got {given}: leave them out")
    if plans is not None and speedup is None:
        raise TypeError("plans are looked through for a speed: give speedup=..., or attach load_plan(...)")
    shared = None if plans is None else SharedPlans(plans)
    cacher = None if method is None else make(method, **hyperparameters)
    models = _models(pipe)
    _refuse_models(pipe, models, replace)
    device = None if cache_device is None else find_device(str(cache_device))
    form = storage(device, snapshots)
    if cacher is None:
        assert speedup is not None
        cacher = Autoplan(models, speedup, of_runs(pipe, models), shared, lost_by(snapshots)).method
    cacher = with_promise(cacher, pipe, models, lost_by(snapshots))
    engines = [Engine(name, model, cacher, tuple(models), form, graphs) for name, model in models.items()]
    if any(engine.cacher.shares_prefix for engine in engines):
        refuse_prefix(pipe)
    detach(pipe)
    return CacheHandle(pipe, engines)


def detach(pipe: Any) -> None:
    """Remove the caches from a pipeline's models, for when the handles of `attach` are lost.

    Caches that were attached through another pipeline with the same models are removed too. Without a cache
    nothing happens.

    Args:
        pipe: a diffusers pipeline.

    Raises:
        TypeError: ``pipe`` is not a pipeline.
    """
    for model in _models(pipe).values():
        handle = _attached.get(id(written(model)))
        if handle is not None:
            handle.remove()


def _models(pipe: Any) -> dict[str, nn.Module]:
    models = models_of(pipe)
    if not models or not hasattr(pipe, "scheduler") or not callable(pipe):
        raise TypeError(
            f"expected a diffusers pipeline with a scheduler and one of {', '.join(MODELS)}, "
            f"got {type(pipe).__name__}"
        )
    return models


def _refuse_models(pipe: Any, models: Mapping[str, nn.Module], replace: bool) -> None:
    for name, model in models.items():
        place, ours = f"{type(pipe).__name__}.{name}", _attached.get(id(written(model)))
        if ours is not None and not replace:
            raise ValueError(
                f"{place} has a cache already ({ours.method}); remove() it first, or with "
                "skipstone.detach(pipe), or attach with replace=True"
            )
        foreign = other_caches(written(model))
        if foreign:
            raise ValueError(f"{place} has another cache already: {'; '.join(foreign)}")
        if is_wrapped(written(model)):
            raise ValueError(f"{place} {WRAPPED}")


class CacheHandle:
    """A method at work on a pipeline."""

    def __init__(self, pipe: Any, engines: list[Engine]) -> None:
        self._engines = engines
        self._watchers: list[Watcher] = []
        self._ended: deque[Mapping[str, Cacher[Any]]] = deque(maxlen=REMEMBERED)
        self._prefix: SharedPrefix | None = None
        self._logs: weakref.WeakKeyDictionary[PipelineCall, CallLog] = weakref.WeakKeyDictionary()
        self._log = self._new_log()
        with ExitStack() as undo:
            undo.callback(self.remove)
            signs = [sign(engine.model) for engine in engines for sign in (adapter_signs, forwards)]
            self._controls = Controls(pipe, *signs)
            self._calls = PipelineCalls(pipe, self._begin_call, self._end_call)
            self._runs = Runs(
                pipe, lambda: self._calls.current, self._begin_run, self._end_step, self._end_run
            )
            for engine in engines:
                engine.install(self._runs, self._note, self._controls)
                _attached[id(engine.model)] = self
            if any(engine.cacher.shares_prefix for engine in engines):
                self._prefix = SharedPrefix(pipe, self._runs, lambda: self._calls.current, self._note)
            undo.pop_all()

    @property
    def method(self) -> str:
        """The method and its hyper-parameters."""
        return self._new_log().stats().method

    @property
    def last_run(self) -> RunStats:
        """The statistics of the pipeline's last call, or of the present one.

        For a program with its own loop, they are those of its last run.
        """
        return self._log.stats()

    @checked
    def run(self, key: Hashable, steps: Positive) -> NamedRun:
        """Name the run that calls belong to, for programs with several loops at once.

        Use it around each step of a server that takes requests in turns, or once around a loop::

            with cache.run(request.id, steps=28):
                request.latents = one_step(pipe, request)

        A scheduler that steps inside it drives the run. Without a scheduler, a new step begins when the model
        is given another time, or when the context is entered again.

        Args:
            key: the run's name; the same key continues the run until it ends.
            steps: the number of steps, if no scheduler tells it.

        Raises:
            ValueError: the number of steps is below 1.
        """
        return self._runs.name(key, steps)

    def compute_next(self) -> None:
        """Compute the next step of every run, after a change that skipstone cannot see."""
        for run in self._runs.open:
            run.forget()
        if self._prefix is not None:
            self._prefix.forget()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call a function after each step of the coming runs; call the returned function to stop that."""
        self._watchers.append(watcher)
        return partial(self._watchers.remove, watcher)

    def remove(self) -> None:
        """Restore the pipeline. The statistics stay readable; a second call does nothing."""
        self._runs.stop()
        if self._prefix is not None:
            self._prefix.remove()
        for engine in self._engines:
            engine.remove()
            if _attached.get(id(engine.model)) is self:
                del _attached[id(engine.model)]
        self._calls.restore()
        self._controls.restore()

    def __repr__(self) -> str:
        run = self.last_run
        return f"cache: {self.method}\n" + (repr(run) if run.evaluations else "no run yet")

    def _repr_html_(self) -> str:
        return self.last_run._repr_html_()

    def __enter__(self) -> "CacheHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def _new_log(self) -> CallLog:
        return CallLog({engine.name: engine.cacher for engine in self._engines})

    def _note(self, text: str) -> None:
        self._log.note(text)

    def _begin_call(self, call: PipelineCall) -> None:
        self._log = self._logs[call] = self._new_log()

    def _end_call(self, call: PipelineCall) -> None:
        """End the runs of a pipeline's call, also if they were interrupted."""
        if self._prefix is not None:
            self._prefix.end_call(call)
        self._runs.end_call(call)

    def _begin_run(self, run: Run) -> None:
        """Note a run on its first call or step."""
        log = None if run.call is None else self._logs.get(run.call)
        if log is None:
            log = self._log = self._new_log()
        run.log.methods = {engine.name: engine.cacher for engine in self._engines} | run.log.methods
        run.log.earlier = tuple(self._ended)
        log.passes.append(run.log)

    def _end_step(self, run: Run, step: Step) -> None:
        if run.log.entries:
            self._note_sampler(run)
            self._tell_watchers(run, step)
            run.log.end = Mark(run.log.entries[-1].device)

    def _end_run(self, run: Run) -> None:
        for engine in self._engines:
            engine.end_run(run)
        if run.log.is_over and any(entry.reason is None for entry in run.log.entries):
            self._ended.append(run.log.methods)

    def _note_sampler(self, run: Run) -> None:
        if run.noisy_sampler is not None:
            run.log.note(
                f"{run.noisy_sampler} adds new noise on every step, which changes the model's input: "
                "expect few skips, or take a sampler without noise"
            )

    def _tell_watchers(self, run: Run, step: Step) -> None:
        evaluations = run.log.step_entries(step.index)
        computed = sum(entry.reason is not None for entry in evaluations)
        skipped = sum(entry.reason is None or entry.skipped_in_part for entry in evaluations)
        for watcher in self._watchers:
            watcher(step, computed, skipped)
