"""The state of networks that control a pipeline's model from outside, such as ControlNets."""

import functools
from collections.abc import Callable, Hashable
from typing import Any

from torch import nn

from skipstone.pipelines.model.calls import parameters_of
from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.run.conditioning import PLAIN
from skipstone.pipelines.run.per_task import PerTask

PARTS = ("control", "adapter", "reference", "redux")
"""Parts of the names of such networks in pipelines."""


class Controls:
    """Note the plain arguments of such networks' calls, such as their strength.

    Their outputs change on every step, and only the device knows whether they are all zero. Their strength,
    and whether they were called at all, are known without waiting for the device.

    Args:
        pipe: the pipeline. Its networks' classes are swapped until `restore`.
        others: further signs, such as that of the model's adapters.
    """

    def __init__(self, pipe: Any, *others: Callable[[], Hashable]) -> None:
        self._asked: PerTask[tuple[tuple[str, Hashable], ...]] = PerTask(())
        self._others = others
        self._swaps = [self._watch(name, part) for name, part in networks(pipe).items()]

    def signs(self) -> list[Hashable]:
        """Signs that stay equal from step to step as long as nothing changes."""
        signs: list[Hashable] = [self._asked.get()]
        for other in self._others:
            signs.append(other())
        return signs

    def clear(self) -> None:
        """Start anew after a call of the model: later calls of its networks are for its next call."""
        if self._asked.get():
            self._asked.set(())

    def restore(self) -> None:
        for swap in self._swaps:
            swap.undo()

    def _watch(self, name: str, network: nn.Module) -> Any:
        cls, asked, names = type(network), self._asked, parameters_of(network)

        @functools.wraps(cls.__call__)
        def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            plain = tuple((key, _plain(value)) for key, value in given.items() if "time" not in key)
            asked.set((*asked.get(), (name, plain)))
            return cls.__call__(self, *args, **kwargs)

        return give_subclass(network, {"__call__": call})


def networks(pipe: Any) -> dict[str, nn.Module]:
    """The networks of a pipeline that control its model."""
    named = getattr(pipe, "components", {})
    return {
        name: part
        for name, part in (named.items() if isinstance(named, dict) else ())
        if isinstance(part, nn.Module) and any(word in name for word in PARTS)
    }


def _plain(value: Any) -> Any:
    """A plain value or a list of numbers; for anything else, only that it is present."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    plain: Any = value if isinstance(value, PLAIN) else type(value)
    return plain
