"""The time of a denoising loop, measured alike with and without a cache."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import nn

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.model.compiled import uncompiled
from skipstone.pipelines.model.models import models_of
from skipstone.pipelines.run.pipeline_calls import PipelineCall, PipelineCalls
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.runs import Runs
from skipstone.pipelines.run.schedulers import Following, Taken
from skipstone.pipelines.run.stopwatch import Mark


class LoopTimer:
    """Time a pipeline's runs from the first evaluation of a model to the end of the last step.

    Use it as a context manager around the runs, either around the whole attachment of a cache or inside it.

    Args:
        pipe: the pipeline.
    """

    def __init__(self, pipe: Any) -> None:
        self.steps = 0
        self._watchers: list[Callable[[Step], None]] = []
        self._begin: Mark | None = None
        self._end: Mark | None = None
        self._newest: Step | None = None
        self._models = list(models_of(pipe).values())
        self._swaps = [self._follow(model) for model in self._models]
        self._calls = PipelineCalls(pipe, self._start, lambda call: None)
        self._following = Following(self)
        self._following.follow(pipe.scheduler)
        ignored: Callable[[Run], None] = lambda run: None  # noqa: E731
        self._runs = Runs(pipe, lambda: self._calls.current, ignored, self._note_step, ignored)

    @property
    def seconds(self) -> float:
        """The seconds of the last run's loop; 0 before any step."""
        return 0.0 if self._begin is None or self._end is None else self._begin.seconds_until(self._end)

    def watch(self, watcher: Callable[[Step], None]) -> None:
        """Call a function after each step."""
        self._watchers.append(watcher)

    def __enter__(self) -> "LoopTimer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runs.stop()
        self._following.stop()
        self._calls.restore()
        for swap in self._swaps:
            swap.undo()

    def on_set(self, scheduler: Any) -> None:
        """Begin a loop; within a pipeline's call it is another pass."""
        if self._calls.current is None:
            self._start()

    def on_step(self, scheduler: Any, taken: Taken) -> None:
        """Count a step, unless it is the same one again."""

    def _start(self, call: PipelineCall | None = None) -> None:
        self.steps, self._begin, self._end, self._newest = 0, None, None, None

    def _follow(self, model: nn.Module) -> Any:
        # A hook would be compiled into the model, and would prevent graphs of skipped steps.
        cls, note = type(model), self._note_begin

        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            note()
            return cls.__call__(self, *args, **kwargs)

        return give_subclass(model, {"__call__": uncompiled(call, recursive=False)})

    def _note_begin(self) -> None:
        if self._begin is None:
            self._begin = self._now()

    def _note_step(self, run: Run, step: Step) -> None:
        del run
        if step == self._newest:
            # The scheduler of another frame has taken the same step.
            return
        self._newest = step
        self.steps += 1
        self._end = self._now()
        for watcher in self._watchers:
            watcher(step)

    def _now(self) -> Mark:
        return Mark(next(self._models[0].parameters()).device)
