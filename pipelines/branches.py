"""Which guidance branch an evaluation belongs to."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from skipstone.pipelines.class_swap import give_subclass, take_subclass_back


class BranchNames:
    """Names each evaluation of a model after the pipeline's ``cache_context``, else by its order in the step.

    Args:
        model: the model. Where it has ``cache_context``, its class is swapped until `restore`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._context: str | None = None
        self._ordinal = 0
        self._wraps = hasattr(model, "cache_context")
        if self._wraps:
            self._watch_context()

    def next(self) -> str:
        """The name of the evaluation that begins now."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        return self._context or f"branch {ordinal}"

    def new_step(self) -> None:
        """Start counting anew."""
        self._ordinal = 0

    def restore(self) -> None:
        if self._wraps:
            take_subclass_back(self._model)

    def _watch_context(self) -> None:
        model: Any = self._model
        cls, names = type(model), self

        @functools.wraps(cls.cache_context)
        @contextmanager
        def cache_context(self: Any, name: str, **kwargs: Any) -> Iterator[None]:
            outer = names._context
            with cls.cache_context(self, name, **kwargs):
                names._context = name if self is model else outer
                try:
                    yield
                finally:
                    names._context = outer

        give_subclass(model, {"cache_context": cache_context})
