"""Try whether skipping is right for a model, once for each layout of its inputs."""

from collections.abc import Callable, Hashable
from typing import Any

from skipstone.pipelines.evaluations.base import Branch, Evaluation
from skipstone.pipelines.evaluations.stack import Replay
from skipstone.pipelines.model.calls import NotUnderstoodError


class Trials:
    """The results of the trials of one model, by the layout of its inputs."""

    def __init__(self) -> None:
        self._problems: dict[Hashable, str | None] = {}
        self._skips_before_stack: set[Hashable] = set()

    def problem(self, layout: Hashable) -> str | None:
        """Why the site cannot be skipped with such inputs; None if it can or was not tried."""
        return self._problems.get(layout)

    def reject(self, layout: Hashable, problem: NotUnderstoodError) -> None:
        """Note that the site cannot be skipped with such inputs."""
        self._problems[layout] = str(problem)

    def tell(self, branch: Branch[Any]) -> None:
        """Tell a new branch the results."""
        branch.checked = branch.layout in self._problems
        branch.skips_before_stack = branch.layout in self._skips_before_stack

    def verify(
        self, evaluation: Evaluation[Any], name: str, right: Callable[[Evaluation[Any]], bool]
    ) -> None:
        """Skip what was just computed and compare, unless such inputs were tried before.

        The first trial also leaves out the blocks before the stack; if anything needs their results, it
        fails. Processes that share the model give up the stack together.

        Args:
            evaluation: the computed evaluation.
            name: the model's name.
            right: returns whether the model's output is the same under another evaluation.

        Raises:
            NotUnderstoodError: the outputs differ, here or in another process of the group.
        """
        branch = evaluation.branch
        if branch.trace is None or branch.layout in self._problems or not len(branch.snapshots):
            return
        branch.skips_before_stack = branch.decides_before_blocks
        is_right = right(Replay(evaluation))
        if branch.skips_before_stack and not is_right:
            branch.skips_before_stack = False
            is_right = right(Replay(evaluation))
        if not is_right:
            raise NotUnderstoodError(f"{name} does more with its blocks than run them in turn")
        self._problems[branch.layout] = None
        if branch.skips_before_stack:
            self._skips_before_stack.add(branch.layout)
        branch.checked = True
