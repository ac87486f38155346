"""Which guidance branch an evaluation belongs to."""

import functools
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.class_swap import Swap, give_subclass


@dataclass
class _Prompt:
    """A prompt's embeddings, the branch that they belong to, and how often they were used in this run."""

    tensor: weakref.ref[Tensor]
    name: str
    uses: int = 0


class BranchNames:
    """Names each evaluation of a model.

    The name is that of the pipeline's ``cache_context``, where it sets one. Else a prompt's embeddings tell:
    pipelines make them once a run, so the same tensor is the same branch, even after guidance was switched
    off and the order within the step has changed; in one step it is another branch each time, as in a pass
    with perturbed blocks. Else the order within the step has to do.

    Args:
        model: the model. Where it has ``cache_context``, its class is swapped until `restore`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._context: str | None = None
        self._used: list[str] = []
        self._step = 0
        self._prompts: list[_Prompt] = []
        self._swap = self._watch_context(model) if hasattr(model, "cache_context") else None

    def next(self, kwargs: Mapping[str, Any]) -> str:
        """The name of the evaluation that begins now, with these arguments of the model."""
        name = self._context or self._by_prompt(kwargs.get("encoder_hidden_states"))
        self._used.append(name)
        return name

    def new_step(self) -> None:
        """Begin another step."""
        self._used.clear()
        self._step += 1

    def new_run(self) -> None:
        """Forget the last run's prompts."""
        self._used.clear()
        self._step = 0
        self._prompts.clear()

    def _by_prompt(self, tensor: Any) -> str:
        by_order = f"branch {len(self._used)}"
        if not isinstance(tensor, Tensor):
            return by_order
        self._prompts = [prompt for prompt in self._prompts if prompt.tensor() is not None]
        known = next((prompt for prompt in self._prompts if prompt.tensor() is tensor), None)
        if known is None:
            known = _Prompt(weakref.ref(tensor), self._free(by_order, tensor))
            self._prompts.append(known)
        known.uses += 1
        name = known.name
        while name in self._used:
            name += ", again"
        return name

    def _free(self, by_order: str, tensor: Tensor) -> str:
        """The name by order, unless it is that of a prompt that may be used again.

        Prompts that were used repeatedly may be, and on the second step those of the first one, unless this
        is one of them made anew.
        """
        new = self._step == 1
        taken = {p.name for p in self._prompts if p.uses > 1 or (new and not _same(p.tensor(), tensor))}
        names = (by_order, *(f"branch {number}" for number in range(len(taken) + 1)))
        return next(name for name in names if name not in taken)

    def restore(self) -> None:
        if self._swap is not None:
            self._swap.undo()

    def _watch_context(self, model: Any) -> Swap:
        cls, names = type(model), self

        @functools.wraps(cls.cache_context)
        @contextmanager
        def cache_context(self: Any, name: str, **kwargs: Any) -> Iterator[None]:
            outer = names._context
            with cls.cache_context(self, name, **kwargs):
                names._context = name
                try:
                    yield
                finally:
                    names._context = outer

        return give_subclass(model, {"cache_context": cache_context})


def _same(known: Tensor | None, tensor: Tensor) -> bool:
    return known is not None and known.shape == tensor.shape and torch.equal(known, tensor)
