"""Noticing when a pipeline's call is over, however it ended."""

import functools
import weakref
from collections.abc import Callable
from typing import Any

from skipstone.pipelines.class_swap import give_subclass, take_subclass_back


class PipelineCalls:
    """Follows the calls of one pipeline, whose class is swapped until `restore`.

    Args:
        pipe: the pipeline.
        on_return: called when a call of it has returned or raised.
    """

    def __init__(self, pipe: Any, on_return: Callable[[], None]) -> None:
        cls, followed = type(pipe), weakref.ref(pipe)

        @functools.wraps(cls.__call__)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return cls.__call__(self, *args, **kwargs)
            finally:
                if self is followed():
                    on_return()

        give_subclass(pipe, {"__call__": call})
        self._pipe: Callable[[], Any] = followed

    def restore(self) -> None:
        """Give the pipeline its class back."""
        pipe, self._pipe = self._pipe(), lambda: None
        if pipe is not None:
            take_subclass_back(pipe)
