"""The calls of a model, where a cache decides whether the model runs."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import nn

from skipstone.pipelines.model.class_swap import Swap, give_subclass
from skipstone.pipelines.model.compiled import compiles, run_as_written, uncompiled

PATIENCE = 60.0
"""Seconds that a thread waits for another one to leave a compiled model."""


class Decided(Protocol):
    """A call of which it is decided how the model runs.

    Args:
        arguments: what the model runs with.
        output: what the caller gets without the model; None to run it.
        ready: whether the model may run compiled.
    """

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]: ...

    @property
    def output(self) -> Any: ...

    @property
    def ready(self) -> bool: ...


Call = TypeVar("Call", bound=Decided)


def watch_calls(
    model: nn.Module,
    begin: Callable[[bool, Any, Any], Call | None],
    finish: Callable[[Call, Any], Any],
    end: Callable[[Call], None],
    not_alone: Callable[[], None],
) -> Swap:
    """Notice a model's calls until this is undone.

    Args:
        model: the model, as it is called.
        begin: decides on a call by whether the model is compiled, its arguments, and those by name; None runs
            it as without a cache.
        finish: takes the output; returns what the caller gets.
        end: ends a call that has begun, also after an error.
        not_alone: is told that another thread stays in a compiled model, so a call runs it as it is written.
    """
    begin, finish, end = uncompiled(begin), uncompiled(finish), uncompiled(end)
    compiled_now, alone = uncompiled(compiles, recursive=False), threading.RLock()
    as_written = functools.partial(uncompiled(run_as_written), model)
    run = functools.partial(type(model).__call__, model)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not compiled_now(model):
            return follow(False, args, kwargs)
        # A compiled model's trace is the same for all threads. One that waits for another cannot leave.
        if not alone.acquire(timeout=PATIENCE):
            not_alone()
            return as_written(*args, **kwargs)
        try:
            return follow(True, args, kwargs)
        finally:
            alone.release()

    @functools.partial(uncompiled, recursive=False)
    def follow(compiled: bool, args: Any, kwargs: Any) -> Any:
        present = begin(compiled, args, kwargs)
        if present is None:
            return run(*args, **kwargs)
        try:
            output = present.output
            if output is None:
                given, named = present.arguments
                output = (run if present.ready else as_written)(*given, **named)
            return finish(present, output)
        finally:
            end(present)

    return give_subclass(model, {"__call__": uncompiled(call, recursive=False)})
