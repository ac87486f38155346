"""Runs that compute what a plan of `action_plans` says, by hooks of their own on a bundled model's blocks."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from action_plans import COND, Seen, Weights
from torch import Tensor, nn


class Follower:
    """Stands in for a model's blocks: computes, or leaves out and estimates, run after run.

    Conditional and unconditional branch are called in turns, as the bundled models' pipelines do.

    Args:
        actions: what to compute at each step.
        estimates: for each step the weights of each branch that is estimated.
        keeps: the values to keep of a run.
    """

    def __init__(
        self, actions: str, estimates: Sequence[Mapping[int, Weights]], keeps: Collection[Seen]
    ) -> None:
        self._actions = actions
        self._estimates = estimates
        self._keeps = keeps
        self._calls = 0
        self._begin: Tensor | None = None
        self.seen: dict[Seen, Tensor] = {}

    def call(self, number: int, depth: int, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The call of one of the blocks, of which there are ``depth``."""
        if number == 0:
            self._begin_model(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])
        step, branch = divmod(self._calls - 1, 2)
        assert self._begin is not None
        if number < _computed(branch, self._actions[step], depth):
            outputs = run(*args, **kwargs)
            seen = Seen(branch, number + 1, step)
            if seen in self._keeps:
                self.seen[seen] = (outputs[1] if isinstance(outputs, tuple) else outputs) - self._begin
            return outputs
        stream = self._begin
        if number + 1 == depth:
            parts = [weight * self.seen[seen] for seen, weight in self._estimates[step][branch].items()]
            stream = sum(parts, start=stream)
        # The blocks of Flux are called by keyword and return both streams.
        return (kwargs["encoder_hidden_states"], stream) if "hidden_states" in kwargs else stream

    def _begin_model(self, stream: Tensor) -> None:
        if self._calls == 2 * len(self._actions):
            self._calls = 0
        if self._calls == 0:
            self.seen.clear()
        self._calls += 1
        self._begin = stream


def _computed(branch: int, action: str, depth: int) -> int:
    """How many blocks a branch computes."""
    if action.isdigit():
        return int(action)
    return depth if action == "#" or (action == "c" and branch == COND) else 0


def blocks_of(transformer: nn.Module) -> list[nn.Module]:
    """A bundled model's blocks in the order of their calls."""
    if hasattr(transformer, "blocks"):
        return list(transformer.blocks)
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


@contextmanager
def following(transformer: nn.Module, follower: Follower) -> Iterator[None]:
    """Whatever the model is called for, it runs as the follower says."""
    blocks = blocks_of(transformer)
    for number, block in enumerate(blocks):
        block.forward = functools.partial(follower.call, number, len(blocks), block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
