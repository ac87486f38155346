"""Skipped evaluations as graphs: captured once for each kind of arguments, then replayed in one call."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.words import Site
from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.evaluations.sites import EARLY
from skipstone.pipelines.evaluations.stack import StackEvaluation
from skipstone.pipelines.graphs.capture import CAPTURERS, Captured, Capturer
from skipstone.pipelines.graphs.reads import Reads
from skipstone.pipelines.model.arguments import put_together, taken_apart
from skipstone.pipelines.model.outputs import alike, floats_in, refilled
from skipstone.pipelines.run.ranks import process_group

MOST = 8
"""The most graphs of one model; a model whose plain arguments change on every step reaches this limit."""

Forward = Callable[[Any, Any], Any]
"""Runs a model with positional and keyword arguments, without its hooks."""


class NotCapturedError(Exception):
    """Why an evaluation runs without a graph."""


class Graph:
    """One kind of skipped evaluation: its memory, and the work that was captured on it.

    The estimated residuals are summed outside the graph, whatever the form of the snapshots.

    Args:
        evaluation: the first evaluation of this kind.
        device: its device.
        arguments: the model's arguments.
        tensors: the tensors among these.
    """

    def __init__(
        self,
        evaluation: StackEvaluation[Any],
        device: torch.device,
        arguments: Any,
        tensors: Sequence[Tensor],
    ) -> None:
        self._device = device
        self._inputs = [tensor.detach().clone() for tensor in tensors]
        self._arguments = put_together(arguments, self._inputs)
        self._sums = evaluation.branch.snapshots.combined(evaluation.weights, device)
        self._summed: Any = None
        self._captured: Captured | None = None
        self._addresses: frozenset[int] = frozenset()
        self._held: list[Tensor] = []
        self.proven = False

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        captured = 0 if self._captured is None else self._captured.nbytes
        return captured + self._sums.nbytes + sum(tensor.nbytes for tensor in self._inputs)

    def replay(self, evaluation: StackEvaluation[Any], tensors: Sequence[Tensor]) -> Any:
        """The evaluation's output for these tensors among its arguments."""
        assert self._captured is not None
        self._load(evaluation, tensors)
        self._captured.replay()
        return _own(self._captured.output)

    def prove(
        self,
        evaluation: StackEvaluation[Any],
        tensors: Sequence[Tensor],
        forward: Forward,
        capturer: Capturer,
    ) -> Any:
        """Run the evaluation without a graph, and make sure that replays return the same in this run.

        A graph of an earlier run is captured again if the model's weights have moved, or if it now returns
        another output.

        Raises:
            NotCapturedError: it cannot be captured, or a replay returns another output.
        """

        def work() -> Any:
            evaluation.skip_by(self._sums)
            return forward(*self._arguments)

        self._load(evaluation, tensors)
        with Reads(self._device, self._inputs) as reads:
            output = _own(work())
        if reads.problem is not None:
            raise NotCapturedError(reads.problem)
        still_valid = self._captured is not None and self._addresses == reads.addresses
        if not (still_valid and self._gives(output, evaluation, tensors)):
            self._load(evaluation, tensors)
            self._captured, self._addresses = capturer.capture(work), reads.addresses
            if not self._gives(output, evaluation, tensors):
                raise NotCapturedError("a replay gave another output than the model")
        self._held, self.proven = reads.held, True
        return output

    def rest(self) -> None:
        """Free everything that matters only within a run."""
        self._held, self._summed, self.proven = [], None, False

    def _load(self, evaluation: StackEvaluation[Any], tensors: Sequence[Tensor]) -> None:
        snapshots, weights = evaluation.branch.snapshots, evaluation.weights
        asked = snapshots, snapshots.changes, weights
        if asked != self._summed:
            snapshots.combine(weights, self._sums)
            self._summed = asked
        torch._foreach_copy_(self._inputs, list(tensors))

    def _gives(self, output: Any, evaluation: StackEvaluation[Any], tensors: Sequence[Tensor]) -> bool:
        return alike(self.replay(evaluation, tensors), output, power=1.0)


class Graphs:
    """The graphs of one model. They outlive the run that used them, and each run proves them anew.

    Args:
        model: the model.
        block_lists: its lists of blocks.
        forward: runs the model.
    """

    def __init__(self, model: nn.Module, block_lists: Sequence[nn.Module], forward: Forward) -> None:
        self._model = model
        self._block_lists = block_lists
        self._forward = forward
        self._graphs: dict[Hashable, Graph] = {}
        self._refused: dict[Hashable, str] = {}
        self._used: set[Hashable] = set()
        self._capturers: dict[torch.device, Capturer] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(graph.nbytes for graph in self._graphs.values())

    def output(self, evaluation: Evaluation[Any], device: torch.device, arguments: Any) -> Any:
        """The output of a skipped evaluation; None if the model must run.

        Args:
            evaluation: the present evaluation, which has begun.
            device: the device of the model's inputs.
            arguments: the model's positional and keyword arguments.

        Raises:
            NotCapturedError: it is skipped, but cannot be captured.
        """
        placement = evaluation.branch.placement
        if placement.site in (Site.LAYER, Site.DEEP) or placement.probe not in EARLY:
            raise NotCapturedError("what is skipped is decided while the model runs")
        if not isinstance(evaluation, StackEvaluation) or not evaluation.skipped:
            return None
        try:
            tensors, rest = taken_apart(arguments)
        except TypeError as problem:
            raise NotCapturedError(str(problem)) from None
        key = evaluation.branch.name, rest, torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        graph = self._graphs.get(key)
        if graph is not None and graph.proven:
            evaluation.replayed = True
            return graph.replay(evaluation, tensors)
        if key not in self._refused:
            try:
                return self._prove(key, evaluation, device, arguments, tensors)
            except Exception as problem:  # A model may raise anything where it is captured.
                self._graphs.pop(key, None)
                self._refused[key] = str(problem).partition("\n")[0]
                evaluation.skip()
        raise NotCapturedError(self._refused[key])

    def rest(self) -> None:
        """Free everything that matters only within a run."""
        for graph in self._graphs.values():
            graph.rest()

    def new_run(self) -> None:
        """Drop graphs that the last run did not use, and retry what it could not capture."""
        self.rest()
        self._graphs = {key: graph for key, graph in self._graphs.items() if key in self._used}
        self._used.clear()
        self._refused.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._graphs.clear()
        self._refused.clear()
        self._capturers.clear()

    def _prove(
        self,
        key: Hashable,
        evaluation: StackEvaluation[Any],
        device: torch.device,
        arguments: Any,
        tensors: Sequence[Tensor],
    ) -> Any:
        self._check(evaluation, device)
        if key not in self._graphs:
            if len(self._graphs) == MOST:
                raise NotCapturedError("plain arguments of the model change from step to step")
            self._graphs[key] = Graph(evaluation, device, arguments, tensors)
        output = self._graphs[key].prove(evaluation, tensors, self._forward, self._capturer(device))
        self._used.add(key)
        return output

    def _capturer(self, device: torch.device) -> Capturer:
        if device not in self._capturers:
            self._capturers[device] = CAPTURERS[device.type](device)
        return self._capturers[device]

    def _check(self, evaluation: StackEvaluation[Any], device: torch.device) -> None:
        """Raise if nothing of this model can be captured now."""
        if device.type not in CAPTURERS:
            raise NotCapturedError(f"the model runs on the {device.type}, which has none")
        if process_group(self._model) is not None:
            raise NotCapturedError("several processes share the model")
        if torch.is_grad_enabled() or torch.is_autocast_enabled(device.type):
            raise NotCapturedError("it runs under autocast, or gradients are recorded")
        if any(map(_has_hooks, self._running(evaluation))):
            raise NotCapturedError("a part of the model has hooks, such as those that move weights")

    def _running(self, evaluation: StackEvaluation[Any]) -> Iterator[nn.Module]:
        """The modules that run in a skipped evaluation."""
        assert evaluation.branch.trace is not None
        blocks = [list(one.children()) for one in self._block_lists]
        left_out = {blocks[number][n] for number, n in evaluation.branch.trace.skipped}
        return _modules(self._model, left_out)


def _modules(module: nn.Module, left_out: set[nn.Module]) -> Iterator[nn.Module]:
    if module not in left_out:
        yield module
        for child in module.children():
            yield from _modules(child, left_out)


def _has_hooks(module: nn.Module) -> bool:
    by_diffusers = getattr(getattr(module, "_diffusers_hook", None), "hooks", None)
    return bool(module._forward_hooks or module._forward_pre_hooks or by_diffusers) or hasattr(
        module, "_hf_hook"
    )


def _own(output: Any) -> Any:
    """A copy of an output, in its own memory."""
    return refilled(output, (tensor.clone() for tensor in floats_in(output)))
