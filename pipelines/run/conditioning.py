"""Tell a model's conditionings apart by cheap signs, without reading numbers from a device."""

import functools
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.calls import parameters_of
from skipstone.pipelines.run.model_time import NAMES

MOVING = ("mask", "residual", "samples", "controlnet", "latent", "rotary", "rope", "sigma", "time", "temb")
"""Parts of the names of arguments that change from step to step, or that follow from others."""

STEADY = ("encoder", "prompt", "embed", "pooled", "text", "cap_", "image", "label", "clip", "control")
"""Parts of the names of arguments that always condition a model, however often they change."""

MOST_ALIASES = 2
"""How many copies are remembered of a conditioning that is made anew for each call."""

PLAIN = (bool, int, float, str, type(None))

Signs = tuple[tuple[str, Hashable], ...]
"""Positions among the arguments, each with the sign of its value."""


@dataclass(frozen=True)
class Conditioning:
    """Everything that conditions one call of a model.

    Args:
        values: the values by their positions among the arguments. Holding them prevents other tensors from
            getting the same address.
        signs: a cheap sign of each value.
    """

    values: Mapping[str, Any]
    signs: Signs

    @property
    def has_tensors(self) -> bool:
        return any(isinstance(value, Tensor) for value in self.values.values())


def conditioning(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Conditioning:
    """The conditioning of a call with these arguments."""
    names = parameters_of(model)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names[:1] and not _is_moving(name):
            values.update(_leaves(name, value))
    return Conditioning(values, tuple((path, _sign(value)) for path, value in values.items()))


@functools.cache
def _is_moving(name: str) -> bool:
    of_a_stream = name.endswith("hidden_states") and "encoder" not in name and "control" not in name
    return of_a_stream or name in NAMES or any(part in name for part in MOVING)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, *PLAIN)):
        yield path, value
    elif isinstance(value, (list, tuple, dict)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _leaves(f"{path}.{key}", part)


def _sign(value: Any) -> Hashable:
    if not isinstance(value, Tensor):
        return type(value), value
    # Torch does not count writes into tensors of inference mode; comparing them would wait for their device.
    version = 0 if value.is_inference() else value._version
    return value.data_ptr(), value.shape, version


class Conditionings:
    """Number the conditionings of one model in one run; equal ones share a number."""

    def __init__(self) -> None:
        self._numbers: dict[Signs, int] = {}
        self._known: list[list[Conditioning]] = []
        self._changed: dict[str, int] = {}
        self._moving: set[str] = set()

    def knows(self, given: Conditioning) -> bool:
        """Whether exactly this conditioning was seen before."""
        return self._signs(given) in self._numbers

    def number(self, given: Conditioning, step: int) -> int:
        """The number of a conditioning, a new one if it is new.

        Args:
            given: the conditioning.
            step: where the run is.
        """
        signs = self._signs(given)
        number = self._numbers.get(signs)
        if number is None:
            number = self._alike(given, step)
            self._remember(number, given)
        return number

    def _signs(self, given: Conditioning) -> Signs:
        if not self._moving:
            return given.signs
        return tuple(sign for sign in given.signs if sign[0] not in self._moving)

    def _alike(self, given: Conditioning, step: int) -> int:
        """The number of a known conditioning with the same content, or a new number."""
        differing = [_differing(known[-1], given) - self._moving for known in self._known]
        for number, others in enumerate(differing):
            if not others:
                return number
        nearest = min(range(len(differing)), key=lambda number: len(differing[number]), default=None)
        if nearest is not None and self._only_moves(differing[nearest], step):
            return nearest
        self._known.append([])
        return len(self._known) - 1

    def _only_moves(self, paths: set[str], step: int) -> bool:
        """Whether a conditioning differs from the nearest known one only in arguments that change from step
        to step.

        An argument that expresses the time does. A difference within one step tells branches apart.
        """
        if any(part in path for path in paths for part in STEADY):
            return False
        self._moving |= {path for path in paths if self._changed.get(path, step) != step}
        self._changed.update(dict.fromkeys(paths, step))
        return not paths - self._moving

    def _remember(self, number: int, given: Conditioning) -> None:
        aliases = self._known[number]
        aliases.append(given)
        for old in aliases[:-MOST_ALIASES]:
            self._numbers.pop(self._signs(old), None)
        del aliases[:-MOST_ALIASES]
        self._numbers[self._signs(given)] = number


def _differing(known: Conditioning, given: Conditioning) -> set[str]:
    """The positions in which two conditionings differ in content."""
    if known.values.keys() != given.values.keys():
        return {*known.values.keys() ^ given.values.keys()} or set(given.values)
    signs = dict(known.signs)
    return {
        path
        for path, sign in given.signs
        # A known value that was written in place since is not what it was known for.
        if sign != signs[path]
        and not (_sign(known.values[path]) == signs[path] and _same(known.values[path], given.values[path]))
    }


def _same(known: Any, given: Any) -> bool:
    """Whether a value has the same content as another one. A value that was written in place is a new one."""
    if not isinstance(known, Tensor) or not isinstance(given, Tensor):
        return type(known) is type(given) and bool(known == given)
    return known.data_ptr() != given.data_ptr() and same_content(known, given)


def same_content(known: Tensor, given: Tensor) -> bool:
    """Whether two tensors are the same to the last bit. It waits for their device."""
    if known.shape != given.shape or known.dtype != given.dtype or known.device != given.device:
        return False
    return torch.equal(known, given)
