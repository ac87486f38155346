"""The arguments of a model's call, split into tensors and the rest."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, torch.dtype, torch.device, type(None))
"""Arguments of these types are the same if they are equal."""


def layout(values: tuple[Any, ...]) -> Iterator[Hashable]:
    """The tensors' layouts and the plain values; if they change, it is another trajectory."""
    for value in values:
        if isinstance(value, Tensor):
            yield tuple(value.shape), value.dtype, value.device
        elif isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from layout(tuple(value))


def taken_apart(arguments: Any) -> tuple[list[Tensor], Hashable]:
    """Split arguments into their tensors and a description of the rest, with the tensors' layouts.

    Raises:
        TypeError: an argument is neither a tensor nor a plain value.
    """
    tensors: list[Tensor] = []
    return tensors, _rest(arguments, tensors)


def put_together(arguments: Any, tensors: Iterable[Tensor]) -> Any:
    """The same arguments with other tensors, in `taken_apart`'s order."""
    return _refilled(arguments, iter(tensors))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a structure of lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(part)


def _rest(value: Any, tensors: list[Tensor]) -> Hashable:
    kind = type(value)
    if kind is Tensor or kind is nn.Parameter:
        tensors.append(value)
        return kind, value.shape, value.dtype, value.device
    if kind is dict:
        return kind, *((key, _rest(part, tensors)) for key, part in value.items())
    if kind in (list, tuple):
        return kind, *(_rest(part, tensors) for part in value)
    if kind in PLAIN:
        # 1, True and 1.0 are equal, but not the same argument.
        return kind, value
    raise TypeError(f"the model is given a {kind.__name__}")


def _refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {key: _refilled(part, tensors) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_refilled(part, tensors) for part in value)
    return value
