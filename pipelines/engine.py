"""One model under a cache: notices its calls, and hands each to an evaluation."""

import functools
from collections import Counter
from collections.abc import Hashable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts, Probe, Reason, RunFacts, Site, Step
from skipstone.pipelines.evaluations.base import Branch, Evaluation, GivenEvaluation
from skipstone.pipelines.evaluations.guided_branches import GuidedBranches
from skipstone.pipelines.evaluations.layers import LayerEvaluation
from skipstone.pipelines.evaluations.output import DeepEvaluation, OutputEvaluation
from skipstone.pipelines.evaluations.sites import at_output, parts_at, place
from skipstone.pipelines.evaluations.stack import StackEvaluation
from skipstone.pipelines.evaluations.trial import Verdicts
from skipstone.pipelines.graphs.graphs import Graphs, NotCapturedError
from skipstone.pipelines.memory.storage import AS_COMPUTED, Storage
from skipstone.pipelines.model.arguments import layout
from skipstone.pipelines.model.attention import middle_block, watch_for_good
from skipstone.pipelines.model.blocks import block_lists, proxied
from skipstone.pipelines.model.calls import NotUnderstoodError
from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.model.compiled import compiles, run_as_written, uncompiled, written
from skipstone.pipelines.model.grids import token_grid
from skipstone.pipelines.model.outputs import alike, floats_in, refilled, with_own_lists
from skipstone.pipelines.model.probes import OF_THE_TIME, model_input, model_output
from skipstone.pipelines.model.trace import Place
from skipstone.pipelines.run.branches import BranchNames
from skipstone.pipelines.run.clock import Clock
from skipstone.pipelines.run.ranks import any_rank, process_group
from skipstone.pipelines.run.stats import LogEntry, RunLog
from skipstone.pipelines.run.stopwatch import Mark

NO_BRANCH = (
    "no unconditional branch was found that could be saved: guidance is off, distilled into the model, or "
    "neither in two calls a step nor in two halves of a batch"
)

BETWEEN_GRAPHS = (
    "it is compiled as a whole, but what this method may skip runs uncompiled, "
    "between compiled pieces of the rest"
)

EVALUATIONS: dict[Site, type[Evaluation[Any]]] = {
    Site.STACK: StackEvaluation,
    Site.DEEP: DeepEvaluation,
    Site.LAYER: LayerEvaluation,
    Site.OUTPUT: OutputEvaluation,
}


class Engine:
    """Runs one method on one model.

    Args:
        name: the model's name in the pipeline.
        model: the model.
        cacher: the method, as the user gave it.
        siblings: the names of all models that the pipeline calls on its steps.
        storage: the form in which residuals are kept.
        graphs: whether skipped evaluations are captured as graphs and replayed.

    Raises:
        ValueError: the method cannot work on this model.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        cacher: Cacher[Any],
        siblings: tuple[str, ...] = (),
        storage: Storage = AS_COMPUTED,
        graphs: bool = False,
    ) -> None:
        self.name = name
        self.model = written(model)
        self.cacher = cacher.for_model(facts(name, self.model, siblings or (name,)))
        self._called = model
        self._placement = place(self.cacher, self.model)
        self._parts = parts_at(self._placement, self.model, self.cacher.head_blocks)
        self._method = self.cacher
        self._clock: Clock | None = None
        self._log: RunLog | None = None
        self._scales: Mapping[str, float] = {}
        self._branches: dict[Hashable, Branch[Any]] = {}
        self._verdicts = Verdicts()
        self._graphs = Graphs(self.model, self._parts, self._run_as_written) if graphs else None
        self._embeddings: Tensor | None = None
        self._evaluation: Evaluation[Any] | None = None
        self._given: tuple[tuple[Any, ...], dict[str, Any]] = (), {}
        guidance = self.cacher.guidance
        self._guided = None if guidance is None else GuidedBranches(guidance, self.model)
        self._names: BranchNames | None = None
        self._device = torch.device("cpu")
        self._storage = storage
        self._undo = ExitStack()
        self._hooks: list[Any] = []

    def install(self, clock: Clock, log: RunLog) -> None:
        """Start noticing the model's calls; the log is for those before the first run."""
        self._clock, self._log = clock, log
        self._names = BranchNames(self.model)
        self._undo.callback(self._names.restore)
        decides_on_the_way = self._placement.site is Site.LAYER
        for proxy in proxied(self._parts, self._running, self._call, decides_on_the_way):
            self._undo.callback(proxy.restore)
        self._watch_model()

    def remove(self) -> None:
        """Leave the model as it was."""
        self._undo.close()
        self._names = None
        self.forget()
        if self._graphs is not None:
            self._graphs.clear()

    def begin_run(self, log: RunLog, scales: Mapping[str, float]) -> None:
        """Forget everything and write to a new log; the scales are those of `RunFacts`."""
        self.forget()
        if self._graphs is not None:
            self._graphs.new_run()
        self._log, self._scales = log, scales

    def new_step(self) -> None:
        if self._names is not None:
            self._names.new_step()
        if self._guided is not None:
            self._guided.new_step()

    def end_run(self) -> None:
        """Say what the run has shown of this model, forget it, and tell the method."""
        assert self._log is not None
        if not self._log.called(self.name):
            self._log.note(f"{self.name}: the run never called it, so nothing of it was cached")
        elif self._guided is not None and not self._guided.found:
            self._log.note(f"{self.name}: {NO_BRANCH}")
        self.forget()
        self.cacher.end_run(self._log.skip_cost)

    def forget(self) -> None:
        """Drop all that is held for reuse."""
        self._branches.clear()
        self._embeddings = None
        self._evaluation = None
        self._given = (), {}
        if self._guided is not None:
            self._guided.forget()
        if self._names is not None:
            self._names.new_run()
        if self._graphs is not None:
            self._graphs.rest()

    @property
    def bytes_held(self) -> int:
        others = sum(part.nbytes for part in (self._guided, self._graphs) if part is not None)
        return others + sum(branch.nbytes for branch in self._branches.values())

    def mark(self) -> Mark:
        """This moment on the device of the model's inputs; its weights may be elsewhere."""
        return Mark(self._device)

    def _watch_model(self) -> None:
        model, cls = self._called, type(self._called)
        run = functools.partial(cls.__call__, model)
        as_written = functools.partial(uncompiled(run_as_written), model)
        begin, finish, end = uncompiled(self._begin), uncompiled(self._finish), uncompiled(self._end)
        elsewhere, compiled_now = uncompiled(self._elsewhere), uncompiled(compiles, recursive=False)

        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            compiled = compiled_now(model)
            if elsewhere():
                return (as_written if compiled else run)(*args, **kwargs)
            try:
                ready, output, args, kwargs = begin(compiled, args, kwargs)
                if output is None:
                    output = (run if ready else as_written)(*args, **kwargs)
                return finish(output)
            finally:
                end()

        swap = give_subclass(model, {"__call__": uncompiled(call, recursive=False)})
        self._undo.callback(swap.undo)

    def _elsewhere(self) -> bool:
        """Whether this call comes from another thread than the run's."""
        assert self._clock is not None
        assert self._log is not None
        elsewhere = self._clock.elsewhere
        if elsewhere:
            self._log.note(f"{self.name}: another thread called it during the run, and that was not cached")
        return elsewhere

    def _running(self) -> bool:
        assert self._clock is not None
        if self._evaluation is None:
            return False
        # Other threads do not run the compiled model meanwhile.
        return torch.compiler.is_dynamo_compiling() or not self._clock.elsewhere

    def _call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self._evaluation is not None
        return self._evaluation.call(place, block, args, kwargs)

    def _begin(self, compiled: bool, args: Any, kwargs: Any) -> tuple[bool, Any, Any, Any]:
        """How the pipeline gets its output.

        Returns:
            Whether the model may run the way it is compiled, the output or None to run it, and its arguments.
        """
        assert self._clock is not None
        assert self._names is not None
        assert self._log is not None
        step = self._clock.step
        if step is None:
            self._log.note(f"{self.name}: it was called outside a run's steps, and that was not cached")
            return True, None, args, kwargs
        if not self._branches or step.count != self._log.planned_steps:
            self._meet_run(args, kwargs)
        name, whole = self._names.next(kwargs), (args, kwargs)
        known = None if self._guided is None else self._guided.begin(name, step, args, kwargs)
        half = None if self._guided is None else self._guided.half
        if half is not None:
            args, kwargs = half.arguments(args, kwargs)
        self._given = with_own_lists((args, kwargs))
        # Layers share what they keep between a batch and its half; all else is another trajectory.
        given = whole if self._placement.site is Site.LAYER else (args, kwargs)
        key = (name, tuple(layout((*given[0], *given[1].values()))))
        if key not in self._branches:
            self._branches[key] = self._new_branch(*key)
            self._watch_attention(self._branches[key])
        self._device = next((tensor.device for tensor in floats_in([args, kwargs])), self._device)
        self._evaluation = self._new_evaluation(self._branches[key], step, known)
        mark = self.mark()
        self._log.planned_steps = step.count
        self._log.entries.append(LogEntry(self.name, name, step.index, None, mark, mark))
        output, look = self._evaluation.begin(), functools.partial(self._run_as_written, *self._given)
        if compiled:
            self._meet_compiled()
        if output is None and self._graphs is not None:
            output = self._by_graph(self._graphs, self._evaluation, compiled)
        ready = not compiled or output is not None or self._evaluation.prepare(look)
        return ready, output, args, kwargs

    def _by_graph(self, graphs: Graphs, evaluation: Evaluation[Any], compiled: bool) -> Any:
        """What a skipped evaluation returns as a graph, None where the model has to run."""
        assert self._log is not None
        try:
            if compiled:
                raise NotCapturedError("it is compiled as a whole")
            output = graphs.output(evaluation, self._device, self._given)
        except NotCapturedError as why:
            self._log.note(f"{self.name}: skipped steps run as they are written, not as graphs: {why}")
            return None
        if not evaluation.replayed:
            self._log.bytes_held = max(self._log.bytes_held, self.bytes_held)
        return output

    def _finish(self, output: Any) -> Any:
        """What the pipeline gets, once what the model returned has been learned from."""
        evaluation = self._evaluation
        if evaluation is None:
            return output
        latents = None if evaluation.skipped else model_output(self.model, output)
        try:
            evaluation.finish(output, latents)
            right = functools.partial(self._gives_again, output)
            self._verdicts.verify(evaluation, type(self.model).__name__, right)
        except NotUnderstoodError as problem:
            # The output is known: let it be the first one that is kept where the method works from now on.
            branch = evaluation.branch
            self._verdicts.reject(branch.layout, problem)
            branch = self._branches[branch.name, branch.layout] = self._new_branch(branch.name, branch.layout)
            self._evaluation = self._new_evaluation(branch, evaluation.step)
            self._evaluation.begin()
            self._evaluation.finish(output, latents)
        if self._guided is None or isinstance(evaluation, GivenEvaluation):
            return output
        self._try_half(self._guided, output)
        return self._guided.finish(output)

    def _end(self) -> None:
        evaluation, self._evaluation = self._evaluation, None
        self._given = (), {}
        if evaluation is None:
            return
        assert self._log is not None
        entry = self._log.entries[-1]
        entry.reason = evaluation.reason
        entry.parts = evaluation.parts + (Counter() if self._guided is None else self._guided.parts)
        entry.replayed, entry.end = evaluation.replayed, self.mark()
        if evaluation.skipped and self._guided is None:
            return
        if not self._method.history:
            evaluation.branch.snapshots.clear()
        elif not evaluation.skipped:
            evaluation.branch.snapshots.settle()
        self._log.bytes_held = max(self._log.bytes_held, self.bytes_held)
        for branch in self._branches.values():
            for remark in branch.remarks:
                self._log.note(f"{self.name}: {remark}")

    def _new_branch(self, name: str, given: Hashable) -> Branch[Any]:
        problem = self._verdicts.problem(given)
        placement = self._placement if problem is None else at_output(self._method, problem)
        branch = Branch(name, given, self._method, placement or self._placement, self._storage)
        self._verdicts.tell(branch)
        branch.problem = problem if placement is None else None
        if any(other.name == name for other in self._branches.values()):
            branch.why_empty = Reason.SHAPE_CHANGED
        return branch

    def _watch_attention(self, branch: Branch[Any]) -> None:
        if self._method.watches_attention:
            branch.watched = middle_block(self._parts)
            branch.grid = token_grid(self.model, *self._given)

    def _meet_compiled(self) -> None:
        """Say how layers are skipped in a compiled model, or see to it that attention is watched in it."""
        assert self._log is not None
        if self._placement.site is Site.LAYER:
            self._log.note(f"{self.name}: {BETWEEN_GRAPHS}")
        place = middle_block(self._parts) if self._method.watches_attention else None
        if place is not None and not self._hooks:
            # For good, because the hooks that a model has when it is compiled are compiled with it.
            block = list(self._parts[place[0]].children())[place[1]]
            self._hooks = watch_for_good(block, self._attended)
            for hook in self._hooks:
                self._undo.callback(hook.remove)

    def _attended(self, output: Any) -> None:
        if self._evaluation is not None:
            self._evaluation.attended(output)

    def _new_evaluation(self, branch: Branch[Any], step: Step, known: Any = None) -> Evaluation[Any]:
        if known is not None:
            return GivenEvaluation(self._method, step, branch, known)
        probe = self._early_probe(branch.placement.probe, step, *self._given)
        kind = Evaluation if branch.problem else EVALUATIONS[branch.placement.site]
        evaluation = kind(self._method, step, branch, probe, process_group(self.model), self._device)
        evaluation.half = None if self._guided is None else self._guided.half
        return evaluation

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
        steps, scales = self._clock.steps, self._scales
        if latents is None:
            return RunFacts(steps, scales=scales)
        shape, dtype = tuple(latents.shape[1:]), str(latents.dtype).removeprefix("torch.")
        return RunFacts(steps, shape, dtype, scales)

    def _try_half(self, guided: GuidedBranches, output: Any) -> None:
        """Compute half of a batch that was just computed, once for each layout of the inputs, and compare."""
        half, evaluation = guided.untried, self._evaluation
        if half is None or evaluation is None:
            return
        plain: Evaluation[Any] = Evaluation(self._method, evaluation.step, evaluation.branch)
        expected = refilled(output, map(half.of, floats_in(output)))
        right = self._gives(expected, plain, *half.arguments(*self._given))
        guided.judge(right)
        if not right and self._log is not None:
            self._log.note(f"{self.name}: half of its batch gives another output, so all of it is computed")

    def _gives_again(self, output: Any, evaluation: Evaluation[Any]) -> bool:
        return self._gives(output, evaluation, *self._given)

    def _gives(self, expected: Any, evaluation: Evaluation[Any], args: Any, kwargs: Any) -> bool:
        """Whether the model returns an output under another evaluation, here and in all of its processes."""
        present, self._evaluation = self._evaluation, evaluation
        try:
            right = alike(self._run_as_written(args, kwargs), expected)
        except Exception:  # A model may raise anything where its blocks, or parts of its input, are left out.
            right = False
        self._evaluation = present
        group = process_group(self.model)
        return right if group is None else not any_rank(group, not right, self._device)

    def _run_as_written(self, args: Any, kwargs: Any) -> Any:
        """Run the model once more.

        Its hooks are left alone: others may count on one call of theirs for each call of the model.
        """
        args, kwargs = with_own_lists((args, kwargs))
        return self.model.forward(*args, **kwargs)

    def _early_probe(self, probe: Probe, step: Step, args: Any, kwargs: Any) -> Tensor | None:
        if probe is Probe.MODEL_INPUT:
            return model_input(self.model, args, kwargs)
        if probe not in OF_THE_TIME:
            return None
        assert self._clock is not None
        if self._embeddings is None:
            self._embeddings = OF_THE_TIME[probe](self.model, self._clock.timesteps)
        return None if self._embeddings is None else self._embeddings[step.index : step.index + 1]


def facts(name: str, model: nn.Module, siblings: tuple[str, ...]) -> ModelFacts:
    """What a method may know of a model."""
    blocks = sum(len(its) for path, its in block_lists(model).items() if "refiner" not in path)
    return ModelFacts(type(model).__name__, dict(getattr(model, "config", {})), name, siblings, blocks)
