"""The tensors in a module's output, and the same structure with other tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

NESTED = (dict, list, tuple)


def floats_in(output: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a structure of tuples, lists, dicts and dataclasses, in order."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
        return
    for _, part in _parts(output):
        yield from floats_in(part)


def refilled(output: Any, tensors: Iterable[Tensor]) -> Any:
    """The same structure with other tensors instead of its floating-point ones."""
    return _refilled(output, iter(tensors))


def hollow(output: Any, value: float = 0.0) -> Any:
    """The same structure with tensors of the same shapes that take no memory: one expanded value each."""
    return refilled(output, (t.detach().new_full((), value).expand(t.shape) for t in floats_in(output)))


def with_own_lists(value: Any) -> Any:
    """The same values in new lists and dicts, since a model may remove items from its own."""
    if isinstance(value, dict):
        return {key: with_own_lists(part) if type(part) in NESTED else part for key, part in value.items()}
    return type(value)(map(with_own_lists, value)) if type(value) in (list, tuple) else value


def alike(ours: Any, theirs: Any, power: float = 0.5) -> bool:
    """Whether two outputs hold the same tensors, up to rounding errors of sums in their precision.

    Args:
        ours: one output.
        theirs: the other one.
        power: the allowed relative difference, as a power of the type's machine epsilon.
    """
    pairs = list(zip(floats_in(ours), floats_in(theirs), strict=True))
    return all(
        a.shape == b.shape and _close(a.float(), b.float(), torch.finfo(b.dtype).eps ** power)
        for a, b in pairs
    )


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return bool((ours - theirs).norm() <= tolerance * theirs.norm())


def _refilled(output: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(output, Tensor):
        return next(tensors) if output.is_floating_point() else output
    parts = {key: _refilled(part, tensors) for key, part in _parts(output)}
    if isinstance(output, dict) and not is_dataclass(output):
        return parts
    if is_dataclass(output) and not isinstance(output, type):
        return replace(output, **parts)
    if isinstance(output, (list, tuple)):
        make = getattr(output, "_make", type(output))
        return make(parts.values())
    return output


def _parts(output: Any) -> list[tuple[Any, Any]]:
    if is_dataclass(output):
        return [(field.name, getattr(output, field.name)) for field in fields(output)]
    if isinstance(output, dict):
        return list(output.items())
    return list(enumerate(output)) if isinstance(output, (list, tuple)) else []
