"""One model under a cache: notices its calls, and hands each to an evaluation."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.base import Cacher, ModelFacts, Probe, Step
from skipstone.pipelines.blocks import ProxiedList, block_lists
from skipstone.pipelines.branches import BranchNames
from skipstone.pipelines.clock import Clock
from skipstone.pipelines.evaluation import Branch, Evaluation
from skipstone.pipelines.probes import OF_THE_TIME, model_input, model_output
from skipstone.pipelines.ranks import process_group
from skipstone.pipelines.stats import LogEntry, RunLog
from skipstone.pipelines.stopwatch import Mark
from skipstone.pipelines.trace import Place


class Engine:
    """Runs one method on one model.

    Args:
        name: the model's name in the pipeline.
        model: the model.
        cacher: the method, as the user gave it.
        siblings: the names of all models that the pipeline calls on its steps.

    Raises:
        ValueError: the model has no block list, or not what the method needs.
    """

    def __init__(
        self, name: str, model: nn.Module, cacher: Cacher[Any], siblings: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.model = model
        self.cacher = cacher.for_model(facts(name, model, siblings or (name,)))
        self._clock: Clock | None = None
        self._log: RunLog | None = None
        self._branches: dict[Hashable, Branch[Any]] = {}
        self._embeddings: Tensor | None = None
        self._evaluation: Evaluation[Any] | None = None
        self._check()
        self._lists: list[ProxiedList] = []
        self._names: BranchNames | None = None
        self._hooks: list[Any] = []

    def install(self, clock: Clock) -> None:
        """Start noticing the model's calls."""
        self._clock = clock
        self._names = BranchNames(self.model)
        call = uncompiled(self._call)
        for number, blocks in enumerate(block_lists(self.model).values()):
            self._lists.append(ProxiedList(number, blocks, self._running, call))
        self._hooks = [
            self.model.register_forward_pre_hook(self._before(), prepend=True, with_kwargs=True),
            self.model.register_forward_hook(self._after(), always_call=True),
        ]

    def remove(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        for blocks in self._lists:
            blocks.restore()
        if self._names is not None:
            self._names.restore()
        self._hooks, self._lists, self._names = [], [], None
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

    def _check(self) -> None:
        block_lists(self.model)
        of_the_time = OF_THE_TIME.get(self.cacher.probe)
        if of_the_time is not None and of_the_time(self.model, [0.0]) is None:
            raise ValueError(
                f"{self.cacher.describe()} looks at the {self.cacher.probe.value.replace('-', ' ')}, but "
                f"{type(self.model).__name__} has none; use rescale='none'"
            )

    def _running(self) -> bool:
        assert self._clock is not None
        return self._evaluation is not None and not self._clock.elsewhere

    def _call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self._evaluation is not None
        return self._evaluation.call(place, block, args, kwargs)

    # The hooks are functions that compare the module: a deep copy of the model shares them, and stays plain.
    def _before(self) -> Any:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if module is self.model:
                self._begin(args, kwargs)

        return uncompiled(before)

    def _after(self) -> Any:
        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if module is self.model and self._running():
                self._end(output)

        return uncompiled(after)

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        assert self._clock is not None
        assert self._names is not None
        if self._clock.elsewhere:
            self._note_other_thread()
            return
        step = self._clock.step
        if step is None or self._log is None:
            return
        name = self._names.next(kwargs)
        key = (name, *_layout((*args, *kwargs.values())))
        branch = self._branches.setdefault(key, Branch.new(self.cacher))
        probe, group = self._early_probe(step, args, kwargs), process_group(self.model)
        self._evaluation = Evaluation(self.cacher, step, branch, probe, group)
        mark = Mark(next(self.model.parameters()).device)
        self._log.planned_steps = step.count
        self._log.entries.append(LogEntry(self.name, name, step.index, None, mark, mark))

    def _end(self, output: Any) -> None:
        assert self._log is not None
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is None:
            return
        if output is not None:
            evaluation.finish(model_output(self.model, output))
        entry = self._log.entries[-1]
        entry.reason = evaluation.reason
        entry.end = Mark(next(self.model.parameters()).device)
        self._log.bytes_held = max(self._log.bytes_held, self.bytes_held)
        for branch in self._branches.values():
            for remark in branch.remarks:
                self._log.note(f"{self.name}: {remark}")

    def _note_other_thread(self) -> None:
        if self._log is not None:
            self._log.note(f"{self.name}: another thread called it during the run, and that was not cached")

    def _early_probe(self, step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
        """The probe where it is known before the blocks run."""
        if self.cacher.probe is Probe.MODEL_INPUT:
            return model_input(self.model, args, kwargs)
        if self.cacher.probe not in OF_THE_TIME:
            return None
        assert self._clock is not None
        if self._embeddings is None:
            self._embeddings = OF_THE_TIME[self.cacher.probe](self.model, self._clock.timesteps)
        return None if self._embeddings is None else self._embeddings[step.index : step.index + 1]


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as it is where the model around it is compiled as a whole; compiled blocks stay so."""
    plain: Callable[..., Any] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
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
