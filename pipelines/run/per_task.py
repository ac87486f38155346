"""Values of their own for each thread and each task of an event loop."""

import asyncio
import threading
import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class PerTask(Generic[T]):
    """One value for each task or thread.

    A context variable would keep everything that it refers to alive in its contexts.

    Args:
        default: the value of tasks and threads that have none.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self._by_task: weakref.WeakKeyDictionary[object, T] = weakref.WeakKeyDictionary()
        self._in_thread = threading.local()

    def get(self) -> T:
        # This runs several times for each call of a model; outside of event loops it must be cheap.
        if asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:
            return self._by_task.get(task, self._default)
        value: T = getattr(self._in_thread, "value", self._default)
        return value

    def set(self, value: T) -> None:
        if asyncio._get_running_loop() is not None and (task := asyncio.current_task()) is not None:
            self._by_task[task] = value
        else:
            self._in_thread.value = value


def here() -> object:
    """Identifies the present task or thread."""
    return _task() or threading.current_thread()


def _task() -> object | None:
    return None if asyncio._get_running_loop() is None else asyncio.current_task()
