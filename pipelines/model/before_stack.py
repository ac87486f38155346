"""Calls of blocks before a model's stack, which may be skipped with the stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipstone.pipelines.model.calls import Call, Slot

Origin = Slot | None
"""Where an argument comes from: a slot of an earlier call; None for an argument that is None."""


@dataclass(frozen=True)
class Foretold:
    """A block's call that can be made from the arguments of an earlier call.

    Args:
        place: the number of the block list, and the block's number in it.
        block: the block.
        args: the origins of its positional arguments.
        kwargs: the origins of its keyword arguments.
    """

    place: tuple[int, int]
    block: nn.Module
    args: tuple[Origin, ...]
    kwargs: Mapping[str, Origin]

    @classmethod
    def of(cls, earlier: Call, call: Call) -> "Foretold | None":
        """How to make a call from an earlier one; None if it takes anything that the earlier one did not."""
        given = _arguments(earlier)
        origins = [_origin(given, value) for value in (*call.args, *call.kwargs.values())]
        if any(not found for found, _ in origins):
            return None
        slots = tuple(slot for _, slot in origins)
        positional, named = slots[: len(call.args)], slots[len(call.args) :]
        return cls(call.place, call.block, positional, dict(zip(call.kwargs, named, strict=True)))

    def by(self, earlier: Call) -> Call:
        """The call, made from the earlier one."""
        given = _arguments(earlier)
        args = tuple(None if slot is None else given[slot] for slot in self.args)
        kwargs = {name: None if slot is None else given[slot] for name, slot in self.kwargs.items()}
        return Call(self.place, self.block, args, kwargs)


@dataclass(frozen=True)
class BeforeStack:
    """The calls before the stack.

    Args:
        blanks: for each call, a stand-in for its output that must not be read.
        foretold: the stack's first call, made from the first of these calls.
        remarks: which calls could not be traced and so do not belong to the stack.
    """

    blanks: tuple[Any, ...] = ()
    foretold: Foretold | None = None
    remarks: tuple[str, ...] = ()


def _arguments(call: Call) -> dict[Slot, Any]:
    return dict([*enumerate(call.args), *call.kwargs.items()])


def _origin(given: Mapping[Slot, Any], value: Any) -> tuple[bool, Origin]:
    """Whether an earlier call took this value, and in which slot."""
    slot = next((slot for slot, one in given.items() if one is value), None)
    return value is None or slot is not None, slot
