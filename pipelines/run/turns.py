"""Parts that remember where they are in one video: whoever uses one takes turns with the others."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


class Turn:
    """Whose turn it is on a part."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken = False

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Wait for the other threads; the part, which has this name, is the caller's inside."""
        with self._lock:
            if self._taken:
                raise RuntimeError(
                    f"the {name} is in the middle of a chunk, within which this asks for another one, as a "
                    "callback can: ask when that chunk is done"
                )
            self._taken = True
            try:
                yield
            finally:
                self._taken = False


_turns: "weakref.WeakKeyDictionary[Any, Turn]" = weakref.WeakKeyDictionary()


@contextmanager
def turn(*parts: Any) -> Iterator[None]:
    """The parts are the caller's inside; all callers name them in the same order.

    Args:
        parts: schedulers and models.

    Raises:
        RuntimeError: this thread has one of them already.
    """
    with ExitStack() as taken:
        for part in parts:
            taken.enter_context(_turns.setdefault(part, Turn()).take(type(part).__name__))
        yield
