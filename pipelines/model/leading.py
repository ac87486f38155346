"""The calls of blocks that come before a model's stack: whether they matter where the stack is skipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipstone.pipelines.model.calls import Call, Slot

Origin = Slot | None
"""Where an argument comes from: a slot of an earlier call, or nowhere, for it is None."""


@dataclass(frozen=True)
class Foretold:
    """A block's call, as far as it can be made from the arguments of an earlier one.

    Args:
        place: which block list, and which block of it.
        block: the block.
        args: where its positional arguments come from.
        kwargs: where its keyword arguments come from.
    """

    place: tuple[int, int]
    block: nn.Module
    args: tuple[Origin, ...]
    kwargs: Mapping[str, Origin]

    @classmethod
    def of(cls, earlier: Call, call: Call) -> "Foretold | None":
        """How to make a call from an earlier one: None where it takes anything that one did not."""
        given = _arguments(earlier)
        origins = [_origin(given, value) for value in (*call.args, *call.kwargs.values())]
        if any(not found for found, _ in origins):
            return None
        slots = tuple(slot for _, slot in origins)
        positional, named = slots[: len(call.args)], slots[len(call.args) :]
        return cls(call.place, call.block, positional, dict(zip(call.kwargs, named, strict=True)))

    def by(self, earlier: Call) -> Call:
        """The call that is to come."""
        given = _arguments(earlier)
        args = tuple(None if slot is None else given[slot] for slot in self.args)
        kwargs = {name: None if slot is None else given[slot] for name, slot in self.kwargs.items()}
        return Call(self.place, self.block, args, kwargs)


@dataclass(frozen=True)
class Leading:
    """The calls before the stack.

    Args:
        blanks: for each of them what it gives when it is left out, which nobody may read.
        foretold: the stack's first call as known from the first of these.
        remarks: what of them is no part of the stack because it is not understood.
    """

    blanks: tuple[Any, ...] = ()
    foretold: Foretold | None = None
    remarks: tuple[str, ...] = ()


def _arguments(call: Call) -> dict[Slot, Any]:
    return dict([*enumerate(call.args), *call.kwargs.items()])


def _origin(given: Mapping[Slot, Any], value: Any) -> tuple[bool, Origin]:
    """Whether a value is among those given, and where."""
    slot = next((slot for slot, one in given.items() if one is value), None)
    return value is None or slot is not None, slot
