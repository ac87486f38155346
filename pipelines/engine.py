"""One model under a cache: notices its calls, and hands each to an evaluation."""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.base import Cacher, ModelFacts, Probe, Reason, RunFacts, Site, Step
from skipstone.pipelines.blocks import proxied
from skipstone.pipelines.branches import BranchNames
from skipstone.pipelines.class_swap import give_subclass, take_subclass_back
from skipstone.pipelines.clock import Clock
from skipstone.pipelines.evaluation import Branch, Evaluation
from skipstone.pipelines.outputs import alike, floats_in, with_own_lists
from skipstone.pipelines.probes import OF_THE_TIME, model_input, model_output
from skipstone.pipelines.ranks import any_rank, process_group
from skipstone.pipelines.sites import at_output, parts_at, place
from skipstone.pipelines.stack_evaluation import Replay, StackEvaluation
from skipstone.pipelines.stats import LogEntry, RunLog
from skipstone.pipelines.stopwatch import Mark
from skipstone.pipelines.streams import NotUnderstoodError
from skipstone.pipelines.trace import Place
from skipstone.pipelines.value_evaluation import DeepEvaluation, OutputEvaluation

EVALUATIONS: dict[Site, type[Evaluation[Any]]] = {
    Site.STACK: StackEvaluation,
    Site.DEEP: DeepEvaluation,
    Site.OUTPUT: OutputEvaluation,
}


class Engine:
    """Runs one method on one model.

    Args:
        name: the model's name in the pipeline.
        model: the model.
        cacher: the method, as the user gave it.
        siblings: the names of all models that the pipeline calls on its steps.
        device: where residuals are kept, None for where they are made.

    Raises:
        ValueError: the method cannot work on this model.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        cacher: Cacher[Any],
        siblings: tuple[str, ...] = (),
        device: torch.device | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.cacher = cacher.for_model(facts(name, model, siblings or (name,)))
        self._placement = place(self.cacher, model)
        self._parts = parts_at(self._placement.site, model, self.cacher.head_blocks)
        self._method = self.cacher
        self._clock: Clock | None = None
        self._log: RunLog | None = None
        self._branches: dict[Hashable, Branch[Any]] = {}
        self._verdicts: dict[Hashable, str | None] = {}
        self._embeddings: Tensor | None = None
        self._evaluation: Evaluation[Any] | None = None
        self._names: BranchNames | None = None
        self._device = torch.device("cpu")
        self._cache_device = device
        self._undo = ExitStack()

    def install(self, clock: Clock, log: RunLog) -> None:
        """Start noticing the model's calls; the log is for those before the first run."""
        self._clock, self._log = clock, log
        self._names = BranchNames(self.model)
        self._undo.callback(self._names.restore)
        call = uncompiled(self._call)
        for number, part in enumerate(self._parts):
            self._undo.callback(proxied(number, part, self._running, call).restore)
        self._watch_model()

    def remove(self) -> None:
        """Leave the model as it was."""
        self._undo.close()
        self._names = None
        self.forget()

    def begin_run(self, log: RunLog) -> None:
        """Forget everything and write to a new log."""
        self.forget()
        self._log = log

    def new_step(self) -> None:
        if self._names is not None:
            self._names.new_step()

    def forget(self) -> None:
        """Drop all that is held for reuse."""
        self._branches.clear()
        self._embeddings = None
        self._evaluation = None
        if self._names is not None:
            self._names.new_run()

    @property
    def bytes_held(self) -> int:
        return sum(branch.snapshots.nbytes for branch in self._branches.values())

    def mark(self) -> Mark:
        """This moment on the device of the model's inputs; its weights may be elsewhere."""
        return Mark(self._device)

    def _watch_model(self) -> None:
        # A deep copy of the model shares the class, and stays plain.
        model, cls = self.model, type(self.model)
        run = functools.partial(cls.__call__, model)
        begin, finish, end = uncompiled(self._begin), uncompiled(self._finish), uncompiled(self._end)
        elsewhere = uncompiled(self._elsewhere)

        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self is not model or elsewhere():
                return cls.__call__(self, *args, **kwargs)
            given = with_own_lists((args, kwargs))
            try:
                output = begin(*given)
                if output is None:
                    output = run(*args, **kwargs)
                finish(*given, output)
            finally:
                end()
            return output

        give_subclass(model, {"__call__": uncompiled(call, recursive=False)})
        self._undo.callback(take_subclass_back, model)

    def _elsewhere(self) -> bool:
        """Whether this call comes from another thread than the run's."""
        assert self._clock is not None
        assert self._log is not None
        if self._clock.elsewhere:
            self._log.note(f"{self.name}: another thread called it during the run, and that was not cached")
        return self._clock.elsewhere

    def _running(self) -> bool:
        assert self._clock is not None
        return self._evaluation is not None and not self._clock.elsewhere

    def _call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self._evaluation is not None
        return self._evaluation.call(place, block, args, kwargs)

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the pipeline gets without running the model; None to run it."""
        assert self._clock is not None
        assert self._names is not None
        assert self._log is not None
        step = self._clock.step
        if step is None:
            self._log.note(f"{self.name}: it was called outside a run's steps, and that was not cached")
            return None
        if not self._branches or step.count != self._log.planned_steps:
            self._meet_run(args, kwargs)
        name = self._names.next(kwargs)
        key = (name, tuple(_layout((*args, *kwargs.values()))))
        if key not in self._branches:
            self._branches[key] = self._new_branch(*key)
        self._evaluation = self._new_evaluation(self._branches[key], step, args, kwargs)
        self._device = next((tensor.device for tensor in floats_in([args, kwargs])), self._device)
        mark = self.mark()
        self._log.planned_steps = step.count
        self._log.entries.append(LogEntry(self.name, name, step.index, None, mark, mark))
        return self._evaluation.begin()

    def _finish(self, args: Any, kwargs: Any, output: Any) -> None:
        evaluation = self._evaluation
        if evaluation is None:
            return
        latents = model_output(self.model, output)
        try:
            evaluation.finish(output, latents)
            self._verify(evaluation, lambda: self.model.forward(*args, **kwargs), output)
        except NotUnderstoodError as problem:
            # The output is known: let it be the first one that is kept where the method works from now on.
            branch = evaluation.branch
            self._verdicts[branch.layout] = str(problem)
            branch = self._branches[branch.name, branch.layout] = self._new_branch(branch.name, branch.layout)
            self._evaluation = self._new_evaluation(branch, evaluation.step, args, kwargs)
            self._evaluation.begin()
            self._evaluation.finish(output, latents)

    def _end(self) -> None:
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is None:
            return
        assert self._log is not None
        entry = self._log.entries[-1]
        entry.reason = evaluation.reason
        entry.end = self.mark()
        if not self._method.history:
            evaluation.branch.snapshots.clear()
        self._log.bytes_held = max(self._log.bytes_held, self.bytes_held)
        for branch in self._branches.values():
            for remark in branch.remarks:
                self._log.note(f"{self.name}: {remark}")

    def _new_branch(self, name: str, layout: Hashable) -> Branch[Any]:
        problem = self._verdicts.get(layout)
        placement = self._placement if problem is None else at_output(self._method, problem)
        branch = Branch(name, layout, self._method, placement or self._placement, self._cache_device)
        branch.checked = layout in self._verdicts
        branch.problem = problem if placement is None else None
        if any(other.name == name for other in self._branches.values()):
            branch.why_empty = Reason.SHAPE_CHANGED
        return branch

    def _new_evaluation(self, branch: Branch[Any], step: Step, args: Any, kwargs: Any) -> Evaluation[Any]:
        probe = self._early_probe(branch.placement.probe, step, args, kwargs)
        evaluation = Evaluation if branch.problem else EVALUATIONS[branch.placement.site]
        return evaluation(self._method, step, branch, probe, process_group(self.model))

    def _verify(self, evaluation: Evaluation[Any], run: Callable[[], Any], output: Any) -> None:
        """Skip what was just computed, once for each layout of the inputs, and compare.

        The model's hooks are left alone: others may count on one call of theirs for each call of the model.
        Processes that share the model leave the stack together.

        Raises:
            NotUnderstoodError: the outputs differ, here or in another process of the group.
        """
        branch = evaluation.branch
        if branch.trace is None or branch.layout in self._verdicts or not len(branch.snapshots):
            return
        self._evaluation = Replay(self._method, evaluation.step, branch)
        try:
            right = alike(run(), output)
        except Exception:  # A model may raise anything where its blocks are left out.
            right = False
        self._evaluation = evaluation
        group = process_group(self.model)
        if group is not None:
            right = not any_rank(group, not right, next(floats_in(output)))
        if not right:
            raise NotUnderstoodError(
                f"{type(self.model).__name__} does more with its blocks than run them in turn"
            )
        self._verdicts[branch.layout] = None
        branch.checked = True

    def _meet_run(self, args: Any, kwargs: Any) -> None:
        """Take what this run is made with.

        Asked again where the first step has shown that the run begins late in the schedule. What was kept for
        another method is dropped.
        """
        assert self._log is not None
        method = self.cacher.for_run(self._run_facts(args, kwargs))
        if method != self._method:
            self._branches.clear()
        self._method = self._log.methods[self.name] = method

    def _run_facts(self, args: Any, kwargs: Any) -> RunFacts:
        assert self._clock is not None
        latents = model_input(self.model, args, kwargs)
        if latents is None:
            return RunFacts(self._clock.steps)
        return RunFacts(
            self._clock.steps, tuple(latents.shape[1:]), str(latents.dtype).removeprefix("torch.")
        )

    def _early_probe(self, probe: Probe, step: Step, args: Any, kwargs: Any) -> Tensor | None:
        if probe is Probe.MODEL_INPUT:
            return model_input(self.model, args, kwargs)
        if probe not in OF_THE_TIME:
            return None
        assert self._clock is not None
        if self._embeddings is None:
            self._embeddings = OF_THE_TIME[probe](self.model, self._clock.timesteps)
        return None if self._embeddings is None else self._embeddings[step.index : step.index + 1]


def uncompiled(function: Callable[..., Any], recursive: bool = True) -> Callable[..., Any]:
    """The function as it is where the model around it is compiled as a whole; compiled blocks stay so."""
    plain: Callable[..., Any] = torch.compiler.disable(function, recursive)  # type: ignore[no-untyped-call]
    return plain


def facts(name: str, model: nn.Module, siblings: tuple[str, ...]) -> ModelFacts:
    """What a method may know of a model."""
    return ModelFacts(type(model).__name__, dict(getattr(model, "config", {})), name, siblings)


def _layout(values: tuple[Any, ...]) -> Iterator[Hashable]:
    """The tensors' layouts, and the names among the values: other ones mean another trajectory."""
    for value in values:
        if isinstance(value, Tensor):
            yield tuple(value.shape), value.dtype, value.device
        elif isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _layout(tuple(value))
