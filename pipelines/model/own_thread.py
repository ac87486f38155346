"""Hooks for one thread: others may run the same modules meanwhile."""

import threading
from collections.abc import Callable
from typing import Any


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A module's hook that does nothing when another thread calls the module."""
    thread = threading.get_ident()

    def own(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs) if threading.get_ident() == thread else None

    return own
