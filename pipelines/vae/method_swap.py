"""Another method for one module, which copies and pickles of the module do not have."""

from collections.abc import Callable
from typing import Any

from torch import nn

from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.model.compiled import uncompiled

Method = Callable[..., Any]


def swap_method(part: nn.Module, method: Method, name: str = "forward") -> Callable[[], None]:
    """Give one module another method, and return what undoes it.

    The method is not compiled: what it remembers is not for a compiler. Copies and pickles of the module have
    what was there before.

    Args:
        part: the module.
        method: called with the arguments alone.
        name: of the method that it replaces.
    """
    plain = uncompiled(method)
    if name in vars(part):
        return _Over(part, plain, name).undo

    def member(_: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    return give_subclass(part, {name: uncompiled(member)}).undo


class _Over:
    """A method over one that the module itself holds, as one with hooks of ``accelerate`` does."""

    def __init__(self, part: nn.Module, method: Method, name: str) -> None:
        self._part = part
        self._method = method
        self._name = name
        self._before: Method = vars(part)[name]
        setattr(part, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)

    def undo(self) -> None:
        """Put back what was there before, unless it was replaced meanwhile."""
        if vars(self._part).get(self._name) is self:
            setattr(self._part, self._name, self._before)

    def __reduce__(self) -> Any:
        """Copies and pickles are of what was there before."""
        return _itself, (self._before,)


def _itself(method: Method) -> Method:
    return method
