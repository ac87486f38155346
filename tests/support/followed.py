"""The runs of a pipeline without any method."""

from typing import Any

from skipstone.cachers import Step
from skipstone.pipelines.run.runs import Runs


def followed(pipe: Any) -> tuple[Runs, list[Step]]:
    """The runs of a pipeline from now on, and the steps that they have taken."""
    taken: list[Step] = []

    def nothing(run: Any) -> None:
        del run

    runs = Runs(pipe, lambda: None, nothing, lambda run, step: taken.append(step), nothing)
    return runs, taken
