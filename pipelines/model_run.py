"""The memory of one model in one denoising run, and its calls in progress."""

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Probe, Reason, RunFacts, Site
from skipstone.pipelines.evaluations.base import Branch, Evaluation
from skipstone.pipelines.evaluations.guided_branches import GuidedBranches
from skipstone.pipelines.evaluations.layers import LayerEvaluation
from skipstone.pipelines.evaluations.output import DeepEvaluation, OutputEvaluation
from skipstone.pipelines.evaluations.stack import StackEvaluation
from skipstone.pipelines.memory.now import Now
from skipstone.pipelines.model.once_more import run_once_more
from skipstone.pipelines.model.outputs import alike
from skipstone.pipelines.model.probes import OF_THE_TIME, model_input
from skipstone.pipelines.run.branches import BranchKey, BranchNames
from skipstone.pipelines.run.conditioning import Conditioning, Conditionings
from skipstone.pipelines.run.controls import Controls
from skipstone.pipelines.run.ranks import any_rank
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.stats import LogEntry
from skipstone.pipelines.run.stopwatch import Mark

MOST_BRANCHES = 256
"""No step has more branches; beyond that, the oldest ones belong to replaced prompts and are dropped."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

EVALUATIONS: dict[Site, type[Evaluation[Any]]] = {
    Site.STACK: StackEvaluation,
    Site.DEEP: DeepEvaluation,
    Site.LAYER: LayerEvaluation,
    Site.OUTPUT: OutputEvaluation,
}


class ModelRun:
    """The memory of one model in one run, from its first call to the end of the run.

    Args:
        run: the run.
        method: the method of this run.
        made_for: the facts of the run that the method was made for.
        guided: follows the branches of guidance; None if the method saves none.
        controls: the state of the model's adapters and of the networks that control it.
        find_caches: finds the caches of other packages on the model.
        group: the processes that share the model; None for this one alone.

    ``device`` is the device of the model's inputs. ``embeddings`` are the time embeddings of all steps, once
    they are read. ``other_caches`` are those of other packages that were put on the model.
    """

    def __init__(
        self,
        run: Run,
        method: Cacher[Any],
        made_for: Hashable,
        guided: GuidedBranches | None,
        controls: Controls,
        find_caches: Callable[[], list[str]],
        group: Any = None,
    ) -> None:
        self.run = run
        self.method = method
        self.made_for = made_for
        self.guided = guided
        self.group = group
        self.branches: dict[Hashable, Branch[Any]] = {}
        self.device = torch.device("cpu")
        self.embeddings: Tensor | None = None
        self.other_caches: list[str] = []
        self._controls = controls
        self._find_caches = find_caches
        self._signs: list[Hashable] | None = None
        self._conditionings = Conditionings()
        self._names = BranchNames()
        self._step = -1
        self._used: Counter[tuple[str | None, int]] = Counter()

    @property
    def nbytes(self) -> int:
        """Bytes held for reuse."""
        others = 0 if self.guided is None else self.guided.nbytes
        return others + self.method.nbytes + sum(branch.nbytes for branch in self.branches.values())

    def knows(self, given: Conditioning) -> bool:
        """Whether the model was called with exactly this conditioning."""
        return self._conditionings.knows(given)

    def used(self, given: Conditioning, context: str | None) -> bool:
        """Whether that happened in the present step, under this name.

        Args:
            given: the call's conditioning.
            context: the pipeline's name for the call, or None.
        """
        if not self.knows(given):
            return False
        return self._used[context, self._conditionings.number(given, self.run.index)] > 0

    def key(self, context: str | None, given: Conditioning) -> BranchKey:
        """The branch of the call that begins now, in the run's present step.

        Args:
            context: the pipeline's name for the call, or None.
            given: the call's conditioning.
        """
        if self._step != self.run.index:
            self._new_step()
        self._controls.clear()
        number = self._conditionings.number(given, self._step)
        self._used[context, number] += 1
        return self._names.next(context, number, not given.has_tensors, self._step)

    def change_method(self, method: Cacher[Any], made_for: Hashable) -> None:
        """Continue with another method; drop what the former one kept."""
        if method != self.method:
            self.branches.clear()
        self.method, self.made_for = method, made_for

    def keep(self, key: Hashable, branch: Branch[Any]) -> None:
        """Add a new branch."""
        mates = [other for other in self.branches.values() if other.name == branch.name]
        if mates:
            same_layout = any(other.layout == branch.layout for other in mates)
            branch.why_empty = Reason.CONDITION_CHANGED if same_layout else Reason.SHAPE_CHANGED
        self.branches[key] = branch
        while len(self.branches) > MOST_BRANCHES:
            del self.branches[next(iter(self.branches))]

    def forget(self, why: Reason = Reason.ASKED_FOR) -> None:
        """Drop everything for reuse: each branch computes its next step, for this reason."""
        for branch in self.branches.values():
            branch.forget(why)
        if self.guided is not None:
            self.guided.forget()

    def pass_by(self, model: str, key: BranchKey, reason: Reason, note: str) -> None:
        """Note a step that is computed without the cache.

        Args:
            model: the model's name.
            key: the call's branch.
            reason: why it is computed.
            note: the same in a sentence.
        """
        self.forget(reason)
        mark = Mark(self.device)
        self.run.log.entries.append(LogEntry(model, key.name, self.run.index, reason, mark, mark))
        self.run.log.note(f"{model}: {note}")

    def new_evaluation(
        self, model: nn.Module, branch: Branch[Any], now: Now, arguments: Arguments
    ) -> Evaluation[Any]:
        """What stands between the pipeline and the model in one call.

        Args:
            model: the model.
            branch: the call's branch.
            now: the call's step, and its half of a batch.
            arguments: the model's arguments, and those by name.
        """
        probe = self._early_probe(model, branch.placement.probe, *arguments)
        kind = Evaluation if branch.problem else EVALUATIONS[branch.placement.site]
        now = now if probe is None else Now(now.step, probe, now.half)
        return kind(self.method, now, branch, self.group, self.device)

    def _early_probe(self, model: nn.Module, probe: Probe, args: Any, kwargs: Any) -> Tensor | None:
        if probe is Probe.MODEL_INPUT:
            return model_input(model, args, kwargs)
        if probe not in OF_THE_TIME:
            return None
        if self.embeddings is None:
            self.embeddings = OF_THE_TIME[probe](model, list(self.run.timesteps))
        index = self.run.index
        return None if self.embeddings is None else self.embeddings[index : index + 1]

    def _new_step(self) -> None:
        self._step = self.run.index
        self._used.clear()
        if self.guided is not None:
            self.guided.new_step()
        signs = self._controls.signs()
        if self._signs is not None and signs != self._signs:
            self.forget(Reason.CONDITION_CHANGED)
        if signs != self._signs:
            self.other_caches = self._find_caches()
        self._signs = signs


def run_facts(run: Run, latents: Tensor | None) -> RunFacts:
    """What a method may know of a run.

    Args:
        run: the run.
        latents: the model's input, ``(batch, channels, *grid)``; None if it has no latents.
    """
    scales = {} if run.call is None else run.call.scales
    if latents is None:
        return RunFacts(run.steps, scales=scales, key=run)
    shape, dtype = tuple(latents.shape[1:]), str(latents.dtype).removeprefix("torch.")
    return RunFacts(run.steps, shape, dtype, scales, run)


@dataclass
class ModelCall:
    """One call of the model in progress.

    Args:
        memory: the model's memory of the run.
        evaluation: stands between the pipeline and the model.
        entry: its entry in the log.
        arguments: the model's arguments; half of a batch if the other half is estimated.
        kept: the same arguments for trials, in new lists, since a model may remove items from its own.
        offloaded: whether the model's weights wait elsewhere at its beginning.
        output: what the pipeline gets without running the model; None to run it.
        ready: whether the model may run compiled.
    """

    memory: ModelRun
    evaluation: Evaluation[Any]
    entry: LogEntry
    arguments: Arguments
    kept: Arguments
    offloaded: bool = False
    output: Any = None
    ready: bool = True

    def gives(
        self, model: nn.Module, arguments: Arguments, expected: Any, evaluation: Evaluation[Any]
    ) -> bool:
        """Whether the model returns an output under another evaluation, in all of its processes.

        Args:
            model: the model.
            arguments: what to run it with.
            expected: the output.
            evaluation: the other evaluation.
        """
        own, self.evaluation = self.evaluation, evaluation
        try:
            right = alike(run_once_more(model, self.memory.device, *arguments), expected)
        except Exception:  # A model may raise anything where its blocks, or parts of its input, are left out.
            right = False
        finally:
            self.evaluation = own
        group = self.memory.group
        return right if group is None else not any_rank(group, not right, self.memory.device)


class Here(threading.local):
    """The calls of a model in progress in this thread, innermost last."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
