"""Settings of any kind as plain values: of functions also the values that they were made with."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from skipstone.comfyui.contract import KEY


def plain(value: Any, of_tensor: Callable[[Tensor], Any]) -> Any:
    """Nested values as plain ones, the same in each process.

    Of an object these are its class and its ``weights``, of what can be called also the values that it was
    made with. Our own wrappers are left out.

    Args:
        value: what is described.
        of_tensor: what counts of a tensor.
    """
    return _Plain(of_tensor).of(value)


def numbers(of: Any) -> dict[str, float]:
    """An object's own settings that are numbers."""
    settings = getattr(of, "__dict__", {}).items()
    return {name: value for name, value in settings if isinstance(value, (int, float)) and name[:1] != "_"}


class _Plain:
    """Describe each object once: functions may hold each other."""

    def __init__(self, of_tensor: Callable[[Tensor], Any]) -> None:
        self._of_tensor = of_tensor
        self._seen: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Tensor):
            return self._of_tensor(value)
        if isinstance(value, tuple):
            return [self.of(part) for part in value]
        if id(value) in self._seen:
            return _name(value)
        self._seen[id(value)] = value
        return self._of_object(value)

    def _of_object(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(self.of(key)): self.of(part) for key, part in value.items() if key != KEY}
        if isinstance(value, list):
            return [self.of(part) for part in value]
        return [_name(value), self.of(getattr(value, "weights", None)), *map(self.of, _made_with(value))]


def _name(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__name__))


def _made_with(value: Any) -> Iterator[Any]:
    """The values that something that can be called was made with."""
    if isinstance(value, partial):
        yield from (value.func, value.args, tuple(sorted(value.keywords.items())))
    elif isinstance(value, MethodType):
        yield from (value.__func__, tuple(sorted(numbers(value.__self__).items())))
    elif isinstance(value, FunctionType):
        yield from (tuple(_closure(value)), value.__defaults__)
        yield tuple(sorted((value.__kwdefaults__ or {}).items()))
    elif callable(value) and not isinstance(value, (type, nn.Module)):
        yield tuple(sorted(numbers(value).items()))


def _closure(function: FunctionType) -> Iterator[Any]:
    """The values of a closure. Lists and mappings count by type: functions keep there what a run changes."""
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:  # Nothing was put into it yet.
            held = None
        yield type(held).__name__ if isinstance(held, (list, Mapping)) else held
