"""What one model remembers of one denoising run."""

from collections import Counter
from collections.abc import Hashable
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
"""More of them than any step has are those of prompts that were exchanged: the oldest go."""


class ModelRun:
    """The memory of one model in one run, from its first call on until the run ends.

    Args:
        run: the run.
        method: what the run is made with.
        made_for: what the method was asked for with.
        guided: follows the branches of guidance, None where no method saves one.
        controls: say what state the model's adapters, and the networks that steer it, are in.

    ``device`` is where the model's inputs are, ``embeddings`` those of all its steps' times, once asked for.
    """

    def __init__(
        self,
        run: Run,
        method: Cacher[Any],
        made_for: Hashable,
        guided: GuidedBranches | None,
        controls: Controls,
    ) -> None:
        self.run = run
        self.method = method
        self.made_for = made_for
        self.guided = guided
        self.branches: dict[Hashable, Branch[Any]] = {}
        self.device = torch.device("cpu")
        self.embeddings: Tensor | None = None
        self._controls = controls
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
        """Whether the model was called with this very conditioning."""
        return self._conditionings.knows(given)

    def used(self, given: Conditioning, context: str | None) -> bool:
        """Whether it was so in the present step, under this name.

        Args:
            given: what conditions the model.
            context: what the pipeline calls it, None where it does not.
        """
        if not self.knows(given):
            return False
        return self._used[context, self._conditionings.number(given, self.run.index)] > 0

    def key(self, context: str | None, given: Conditioning) -> BranchKey:
        """The branch of the call that begins now, at the run's present step.

        Args:
            context: what the pipeline calls it, None where it does not.
            given: what conditions it.
        """
        if self._step != self.run.index:
            self._new_step()
        self._controls.clear()
        number = self._conditionings.number(given, self._step)
        self._used[context, number] += 1
        return self._names.next(context, number, not given.has_tensors, self._step)

    def change_method(self, method: Cacher[Any], made_for: Hashable) -> None:
        """Go on with another method: what was kept for the other one is dropped."""
        if method != self.method:
            self.branches.clear()
        self.method, self.made_for = method, made_for

    def keep(self, key: Hashable, branch: Branch[Any]) -> None:
        """Remember a new branch."""
        mates = [other for other in self.branches.values() if other.name == branch.name]
        if mates:
            same_layout = any(other.layout == branch.layout for other in mates)
            branch.why_empty = Reason.CONDITION_CHANGED if same_layout else Reason.SHAPE_CHANGED
        self.branches[key] = branch
        while len(self.branches) > MOST_BRANCHES:
            del self.branches[next(iter(self.branches))]

    def forget(self, why: Reason = Reason.ASKED_FOR) -> None:
        """Drop what could be reused: each branch computes next, for this reason."""
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
        self._signs = signs
