"""The memory of one model in one denoising run."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Reason
from skipstone.pipelines.evaluations.base import Branch
from skipstone.pipelines.evaluations.guided_branches import GuidedBranches
from skipstone.pipelines.run.branches import BranchKey, BranchNames
from skipstone.pipelines.run.conditioning import Conditioning, Conditionings
from skipstone.pipelines.run.controls import Controls
from skipstone.pipelines.run.run import Run

MOST_BRANCHES = 256
"""No step has more branches; beyond that, the oldest ones belong to replaced prompts and are dropped."""


class ModelRun:
    """The memory of one model in one run, from its first call to the end of the run.

    Args:
        run: the run.
        method: the method of this run.
        made_for: the facts of the run that the method was made for.
        guided: follows the branches of guidance; None if the method saves none.
        controls: the state of the model's adapters and of the networks that control it.
        find_caches: finds the caches of other packages on the model.

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
    ) -> None:
        self.run = run
        self.method = method
        self.made_for = made_for
        self.guided = guided
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
        return others + sum(branch.nbytes for branch in self.branches.values())

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
