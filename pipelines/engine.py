"""One model with a cache: notice its calls, find the run of each, and let an evaluation answer it."""

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Reason, Site
from skipstone.pipelines.evaluations.base import Branch, Evaluation, GivenEvaluation
from skipstone.pipelines.evaluations.guided_branches import GuidedBranches
from skipstone.pipelines.evaluations.sites import at_output, modules_at, place
from skipstone.pipelines.evaluations.trial import Trials
from skipstone.pipelines.graphs.graphs import Graphs, NotCapturedError
from skipstone.pipelines.graphs.lent import LentGraphs
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.memory.storage import AS_COMPUTED, Storage
from skipstone.pipelines.model.arguments import layout
from skipstone.pipelines.model.attention import middle_block, watch_for_good
from skipstone.pipelines.model.blocks import ProxiedList, proxied
from skipstone.pipelines.model.calls import NotUnderstoodError
from skipstone.pipelines.model.compiled import FOLLOWS, written
from skipstone.pipelines.model.gradients import records_gradients
from skipstone.pipelines.model.grids import token_grid
from skipstone.pipelines.model.models import facts_of, is_on
from skipstone.pipelines.model.once_more import forward, run_once_more
from skipstone.pipelines.model.other_caches import other_caches
from skipstone.pipelines.model.outputs import floats_in, refilled, with_own_lists
from skipstone.pipelines.model.probes import model_input, model_output
from skipstone.pipelines.model.trace import Place
from skipstone.pipelines.model.watched import watch_calls
from skipstone.pipelines.model_run import Arguments, Here, ModelCall, ModelRun, run_facts
from skipstone.pipelines.run.branches import BranchKey, CacheContexts
from skipstone.pipelines.run.controls import Controls
from skipstone.pipelines.run.ranks import process_group, token_group
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.runs import Runs
from skipstone.pipelines.run.stats import LogEntry
from skipstone.pipelines.run.stopwatch import Mark

NO_BRANCH = (
    "no unconditional branch was found that could be saved: guidance is off, distilled into the model, or "
    "neither in two calls a step nor in two halves of a batch"
)

BETWEEN_GRAPHS = (
    "it is compiled as a whole, but what this method may skip runs uncompiled, "
    "between compiled pieces of the rest"
)

TOO_OLD = (
    f"it is compiled as a whole, which torch {torch.__version__} cannot follow with a cache, so it ran "
    "uncompiled: compile its blocks instead, or pip install -U torch"
)

GRADIENTS = "gradients are recorded through it, so steps are computed exactly as the model is written"

NOT_ALONE = "another thread stayed in the compiled model, so this step was computed as the model is written"


class Engine:
    """Run one method on one model for as long as it is attached.

    Args:
        name: the model's name in the pipeline.
        model: the model.
        cacher: the user's method.
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
        self.cacher = cacher.for_model(facts_of(name, self.model, siblings or (name,)))
        self._called = model
        self._placement = place(self.cacher, self.model)
        self._modules = modules_at(self._placement, self.model, self.cacher.head_blocks)
        self._trials = Trials()
        self._half_trials: dict[Hashable, bool] = {}
        self._graphs: LentGraphs | None = None
        if graphs:
            run = functools.partial(forward, self.model)
            self._graphs = LentGraphs(Graphs(self.model, self._modules, run))
        self._memories: weakref.WeakSet[ModelRun] = weakref.WeakSet()
        self._here = Here()
        self._traced: Evaluation[Any] | None = None
        self._storage = storage
        self._undo = ExitStack()
        self._hooks: list[Any] = []

    def install(self, runs: Runs, note: Callable[[str], None], controls: Controls) -> None:
        """Start to notice the model's calls.

        Args:
            runs: finds the run that a call belongs to.
            note: receives notes on calls that belong to no run.
            controls: the state of the pipeline's other networks.
        """
        self._runs, self._note, self._controls = runs, note, controls
        self._contexts = CacheContexts(self.model)
        self._undo.callback(self._contexts.restore)
        decides_on_the_way = self._placement.site is Site.LAYER
        proxies = proxied(self._modules, self._running, self._call, decides_on_the_way)
        for proxy in proxies:
            self._undo.callback(proxy.restore)
        self._lists = [proxy for proxy in proxies if isinstance(proxy, ProxiedList)]
        self._watch_model()

    def remove(self) -> None:
        """Restore the model."""
        self._undo.close()
        if self._graphs is not None:
            self._graphs.clear()

    @property
    def bytes_held(self) -> int:
        graphs = 0 if self._graphs is None else self._graphs.nbytes
        return graphs + sum(memory.nbytes for memory in self._memories if not memory.run.ended)

    def end_run(self, run: Run) -> None:
        """Note what a run has shown of this model, and tell the method that the run is over."""
        memory: ModelRun | None = run.models.get(self.name)
        if memory is None:
            if run.finished:
                run.log.note(f"{self.name}: the run never called it, so nothing of it was cached")
            return
        if run.finished and memory.guided is not None and not memory.guided.found:
            run.log.note(f"{self.name}: {NO_BRANCH}")
        if self._graphs is not None:
            self._graphs.end_run(run)
        memory.method.end_run(run.log.skip_cost)

    # Noticing calls

    def _watch_model(self) -> None:
        watch = watch_calls(self._called, self._begin, self._finish, self._end, self._not_alone)
        self._undo.callback(watch.undo)

    def _not_alone(self) -> None:
        self._note(f"{self.name}: {NOT_ALONE}")

    def _running(self) -> bool:
        if torch.compiler.is_dynamo_compiling():
            return self._traced is not None
        return bool(self._here.calls)

    def _call(self, place: Place, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if torch.compiler.is_dynamo_compiling():
            assert self._traced is not None
            return self._traced.call(place, block, args, kwargs)
        present = self._here.calls
        # A block's stand-in may outlive the evaluation, for example if gradients recompute its input.
        return present[-1].evaluation.call(place, block, args, kwargs) if present else block(*args, **kwargs)

    def _begin(self, compiled: bool, args: Any, kwargs: Any) -> ModelCall | None:
        """The call that begins now; None if the model runs as without a cache."""
        context = self._contexts.name
        found = self._runs.find(self.name, self.model, args, kwargs, context)
        self._traced = None
        if isinstance(found, str):
            self._note(f"{self.name}: {found}")
            return None
        run, memory = found.run, self._memory(found.run, args, kwargs)
        key = memory.key(context, found.conditioning)
        if memory.other_caches:
            memory.pass_by(self.name, key, Reason.OTHER_CACHE, "; ".join(memory.other_caches))
            return None
        if records_gradients(self.model, args, kwargs):
            memory.pass_by(self.name, key, Reason.GRADIENTS, GRADIENTS)
            return None
        present = self._present_call(memory, key, args, kwargs)
        run.log.entries.append(present.entry)
        self._here.calls.append(present)
        self._traced = present.evaluation
        try:
            self._decide(present, compiled)
        except BaseException:
            self._end(present)
            raise
        return present

    def _memory(self, run: Run, args: Any, kwargs: Any) -> ModelRun:
        """The model's memory of a run; it is made anew if the run's steps change."""
        memory: ModelRun | None = run.models.get(self.name)
        made_for = run.first, run.count, run.schedule
        if memory is not None and memory.made_for == made_for:
            return memory
        method = self.cacher.for_run(run_facts(run, model_input(self.model, args, kwargs)))
        if memory is None:
            guidance = self.cacher.guidance
            guided = None if guidance is None else GuidedBranches(guidance, self.model, self._half_trials)
            find, group = functools.partial(other_caches, self.model), process_group(self.model)
            memory = ModelRun(run, method, made_for, guided, self._controls, find, group)
            run.models[self.name] = memory
            memory.device = next((tensor.device for tensor in floats_in([args, kwargs])), memory.device)
            self._memories.add(memory)
        memory.change_method(method, made_for)
        run.log.methods[self.name] = method
        run.log.planned_steps = run.count
        return memory

    def _present_call(self, memory: ModelRun, key: BranchKey, args: Any, kwargs: Any) -> ModelCall:
        run, guided = memory.run, memory.guided
        step, whole = run.step, (args, kwargs)
        known = None if guided is None else guided.begin(key.name, step, args, kwargs)
        half = None if guided is None else guided.half
        if half is not None:
            args, kwargs = half.arguments(args, kwargs)
        kept = with_own_lists((args, kwargs))
        # Layers share their memory between a batch and its half; anything else is another trajectory.
        given = whole if self._placement.site is Site.LAYER else (args, kwargs)
        branch = self._branch(memory, key, tuple(layout((*given[0], *given[1].values()))), kept)
        if known is not None:
            evaluation: Evaluation[Any] = GivenEvaluation(memory.method, Now(step), branch, known)
        else:
            evaluation = memory.new_evaluation(self.model, branch, Now(step, half=half), kept)
        mark = Mark(memory.device)
        entry = LogEntry(self.name, key.name, run.index, None, mark, mark)
        # As `is_on`, which would be a call in each evaluation.
        first = next(self.model.parameters(), None)
        offloaded = first is not None and first.device != memory.device
        return ModelCall(memory, evaluation, entry, (args, kwargs), kept, offloaded)

    def _decide(self, present: ModelCall, compiled: bool) -> None:
        """Decide what the pipeline gets without the model, and how the model may run."""
        evaluation = present.evaluation
        output, device = evaluation.begin(), present.memory.device
        look = functools.partial(run_once_more, self.model, device, *present.kept)
        if compiled:
            self._meet_compiled(present.memory)
        if output is None and self._graphs is not None:
            output = self._by_graph(self._graphs, present, compiled)
        present.output = output
        present.ready = not compiled or output is not None or (FOLLOWS and evaluation.prepare(look))

    def _by_graph(self, graphs: LentGraphs, present: ModelCall, compiled: bool) -> Any:
        """The output of a skipped evaluation by a graph; None if the model must run."""
        memory = present.memory
        try:
            if compiled:
                raise NotCapturedError("it is compiled as a whole")
            output = graphs.output(memory.run, present.evaluation, memory.device, present.kept)
        except NotCapturedError as why:
            memory.run.log.note(f"{self.name}: skipped steps run as they are written, not as graphs: {why}")
            return None
        if not present.evaluation.replayed:
            self._note_bytes(memory.run)
        return output

    def _finish(self, present: ModelCall, output: Any) -> Any:
        """Learn from the model's output; return what the pipeline gets."""
        memory, evaluation = present.memory, present.evaluation
        latents = None if evaluation.skipped else model_output(self.model, output)
        try:
            evaluation.finish(output, latents)
            right = functools.partial(present.gives, self.model, present.kept, output)
            self._trials.verify(evaluation, type(self.model).__name__, right)
        except NotUnderstoodError as problem:
            self._begin_anew(present, output, latents, problem)
        if memory.guided is None or isinstance(evaluation, GivenEvaluation):
            return output
        self._try_half(memory.guided, present, output)
        return memory.guided.finish(output)

    def _begin_anew(self, present: ModelCall, output: Any, latents: Any, problem: NotUnderstoodError) -> None:
        """Keep a known output as the first one at the method's new site."""
        memory, branch, now = present.memory, present.evaluation.branch, present.evaluation.now
        self._trials.reject(branch.layout, problem)
        key = next(key for key, known in memory.branches.items() if known is branch)
        branch = memory.branches[key] = self._new_branch(memory, branch.name, branch.layout)
        present.evaluation = memory.new_evaluation(self.model, branch, now, present.kept)
        present.evaluation.begin()
        present.evaluation.finish(output, latents)

    def _end(self, present: ModelCall) -> None:
        calls = self._here.calls
        calls.remove(present)
        self._traced = calls[-1].evaluation if calls else None
        memory, evaluation, entry = present.memory, present.evaluation, present.entry
        entry.reason = evaluation.reason
        entry.parts = evaluation.parts + (Counter() if memory.guided is None else memory.guided.parts)
        entry.replayed, entry.end = evaluation.replayed, Mark(memory.device)
        entry.brought = present.offloaded and not evaluation.skipped and is_on(self.model, memory.device)
        if evaluation.skipped and memory.guided is None:
            return
        if not memory.method.history:
            evaluation.branch.snapshots.clear()
        elif not evaluation.skipped:
            evaluation.branch.snapshots.convert()
        self._note_bytes(memory.run)
        for branch in memory.branches.values():
            for remark in branch.remarks:
                memory.run.log.note(f"{self.name}: {remark}")

    def _note_bytes(self, run: Run) -> None:
        graphs = 0 if self._graphs is None else self._graphs.nbytes
        held = graphs + sum(memory.nbytes for memory in run.models.values())
        run.log.bytes_held = max(run.log.bytes_held, held)

    # Branches and evaluations

    def _branch(
        self, memory: ModelRun, key: BranchKey, shapes: Hashable, arguments: Arguments
    ) -> Branch[Any]:
        known = memory.branches.get((key, shapes))
        if known is not None:
            return known
        branch = self._new_branch(memory, key.name, shapes)
        memory.keep((key, shapes), branch)
        if memory.method.watches_attention:
            branch.watched = middle_block(self._modules)
            branch.grid = token_grid(self.model, *arguments)
        return branch

    def _new_branch(self, memory: ModelRun, name: str, shapes: Hashable) -> Branch[Any]:
        problem = self._trials.problem(shapes)
        placement = self._placement if problem is None else at_output(memory.method, problem)
        placed = placement or self._placement
        branch = Branch(name, shapes, memory.method, placed, self._storage, token_group(self.model))
        self._trials.tell(branch)
        branch.problem = problem if placement is None else None
        return branch

    def _meet_compiled(self, memory: ModelRun) -> None:
        """Make what a compiler follows; note how layers are skipped, or watch its attention."""
        if not FOLLOWS:
            memory.run.log.note(f"{self.name}: {TOO_OLD}")
            return
        for blocks in self._lists:
            blocks.open()
        if self._placement.site is Site.LAYER:
            memory.run.log.note(f"{self.name}: {BETWEEN_GRAPHS}")
        place = middle_block(self._modules) if memory.method.watches_attention else None
        if place is not None and not self._hooks:
            # Permanent, since hooks are compiled together with the model.
            block = list(self._modules[place[0]].children())[place[1]]
            self._hooks = watch_for_good(block, self._attended)
            for hook in self._hooks:
                self._undo.callback(hook.remove)

    def _attended(self, output: Any) -> None:
        if self._here.calls:
            self._here.calls[-1].evaluation.attended(output)

    # Trials

    def _try_half(self, guided: GuidedBranches, present: ModelCall, output: Any) -> None:
        """Try half of the batch that was just computed, once for each layout of the inputs, and compare."""
        half = guided.untried
        if half is None:
            return
        memory, branch = present.memory, present.evaluation.branch
        plain: Evaluation[Any] = Evaluation(memory.method, present.evaluation.now, branch)
        expected = refilled(output, map(half.of, floats_in(output)))
        right = present.gives(self.model, half.arguments(*present.kept), expected, plain)
        guided.note_trial(right)
        if not right:
            memory.run.log.note(
                f"{self.name}: half of its batch gives another output, so all of it is computed"
            )
