"""The graphs of one model, lent to one run at a time."""

from typing import Any

import torch

from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.graphs.graphs import Graphs, NotCapturedError
from skipstone.pipelines.run.run import Run


class LentGraphs:
    """Lends graphs to a run until it ends: runs share the graphs' memory, and each run proves them anew.

    Args:
        graphs: the graphs.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._run: Run | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._graphs.nbytes

    def output(self, run: Run, evaluation: Evaluation[Any], device: torch.device, arguments: Any) -> Any:
        """The output of a run's skipped evaluation; None if the model must run.

        Args:
            run: the run.
            evaluation: its present evaluation, which has begun.
            device: the device of the model's inputs.
            arguments: the model's positional and keyword arguments.

        Raises:
            NotCapturedError: it is skipped, but cannot be captured, or another run has the graphs.
        """
        self._lend(run)
        return self._graphs.output(evaluation, device, arguments)

    def _lend(self, run: Run) -> None:
        if self._run is run:
            return
        if self._run is not None and not self._run.ended:
            raise NotCapturedError("another run uses them now")
        self._run = run
        self._graphs.new_run()

    def end_run(self, run: Run) -> None:
        """Take the graphs back from a run; nothing if it does not have them."""
        if self._run is run:
            self._run = None
            self._graphs.rest()

    def clear(self) -> None:
        """Drop all graphs."""
        self._graphs.clear()
