"""Which of a block's outputs continues which of its inputs, learned from one computed evaluation.

A block takes streams of tokens (`hidden_states`, often `encoder_hidden_states`) and constants, and returns
the changed streams. Names and order differ between models, but each block takes what the block before it
returned. So streams are found by the identity of tensors. If a model changes something between two blocks,
they are found by name and shape.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

Slot = int | str
"""Where a block takes a tensor: the position of an argument, or a keyword."""


def parameters_of(module: nn.Module) -> tuple[str, ...]:
    """The names of a module's parameters, in order."""
    return _parameters(type(module).forward)


@functools.cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)[1:]


@dataclass(frozen=True)
class Call:
    """One call of one block: its place, its arguments and its outputs."""

    place: tuple[int, int]
    block: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Any = None

    @property
    def list_index(self) -> int:
        return self.place[0]

    def run(self) -> Any:
        """Call the block."""
        return self.block(*self.args, **self.kwargs)

    def copied(self) -> "Call":
        """The same call with tensors of its own."""
        args = tuple(value.clone() if isinstance(value, Tensor) else value for value in self.args)
        copies = {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.kwargs.items()}
        return replace(self, args=args, kwargs=copies)

    def tensors(self) -> dict[Slot, Tensor]:
        """The tensors among the arguments."""
        arguments: list[tuple[Slot, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        return {slot: value for slot, value in arguments if isinstance(value, Tensor)}

    def slot_of(self, tensor: Tensor) -> Slot | None:
        """The slot that takes exactly this tensor object."""
        return next((slot for slot, value in self.tensors().items() if value is tensor), None)

    def main_slot(self) -> Slot:
        """The slot of the main stream: the parameter ``hidden_states``, or else the largest tensor."""
        parameters = parameters_of(self.block)
        slots = self.tensors()
        for slot in slots:
            if slot == "hidden_states" or (
                isinstance(slot, int) and parameters[slot : slot + 1] == ("hidden_states",)
            ):
                return slot
        return max(slots, key=lambda slot: slots[slot].numel())

    def main(self) -> Tensor:
        """The main stream's tensor, ``(batch, tokens, dim)``."""
        return self.tensors()[self.main_slot()]

    def continues(self, position: int, slot: Slot) -> bool:
        """Whether an output could continue the stream in a slot: it has the same shape."""
        taken = self.tensors().get(slot)
        return taken is not None and taken.shape == self.output_tuple()[position].shape

    def output_tensors(self) -> dict[Slot, Tensor]:
        """The tensors among the outputs, by position."""
        return {n: value for n, value in enumerate(self.output_tuple()) if isinstance(value, Tensor)}

    def output_tuple(self) -> tuple[Any, ...]:
        return self.outputs if isinstance(self.outputs, tuple) else (self.outputs,)


class NotUnderstoodError(Exception):
    """A block returns something that does not continue any of its inputs."""


@dataclass(frozen=True)
class Passes:
    """How to skip a block: for each output the slot whose stream it continues, or None."""

    slots: tuple[Slot | None, ...]
    is_tuple: bool

    def through(self, tensors: Mapping[Slot, Tensor]) -> Any:
        """The block's outputs if every stream passes unchanged."""
        values = tuple(None if slot is None else tensors[slot] for slot in self.slots)
        return values if self.is_tuple else values[0]

    def past(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The same, from a call's plain arguments."""
        values = [
            None if slot is None else args[slot] if isinstance(slot, int) else kwargs[slot]
            for slot in self.slots
        ]
        return tuple(values) if self.is_tuple else values[0]


def passes(call: Call, hints: Mapping[int, Slot]) -> Passes:
    """Find the stream that each output of a finished call continues.

    Args:
        call: a finished call.
        hints: from an output's position to its slot, as seen between two calls of the same list.

    Raises:
        NotUnderstoodError: an output continues none of the remaining inputs.
    """
    inputs = {slot: tensor for slot, tensor in call.tensors().items() if slot not in hints.values()}
    slots: list[Slot | None] = []
    for position, output in enumerate(call.output_tuple()):
        slot = hints.get(position)
        if slot is None and output is not None:
            slot = _alike(output, inputs, call)
            del inputs[slot]
        slots.append(slot)
    return Passes(tuple(slots), isinstance(call.outputs, tuple))


def _alike(output: Any, inputs: Mapping[Slot, Tensor], call: Call) -> Slot:
    name = type(call.block).__name__
    if not isinstance(output, Tensor):
        raise NotUnderstoodError(f"{name} returns a {type(output).__name__} among its streams")
    alike = [slot for slot, tensor in inputs.items() if tensor.shape == output.shape]
    main = call.main_slot()
    if main in alike:
        return main
    if len(alike) == 1:
        return alike[0]
    raise NotUnderstoodError(
        f"{name} returns a tensor {tuple(output.shape)} that continues none of its inputs"
    )


def links(before: Call, after: Call) -> dict[int, Slot]:
    """From each output's position to the slot of the next call that takes the same tensor."""
    found = {
        position: after.slot_of(output)
        for position, output in enumerate(before.output_tuple())
        if isinstance(output, Tensor)
    }
    return {position: slot for position, slot in found.items() if slot is not None}


@dataclass(frozen=True)
class Stretch:
    """Calls of one block list that pass on the same streams.

    Args:
        first: position of its first call in the evaluation.
        last: position of its last call.
        passes: how to skip any of its calls.
        exits: the same for the last call, which may drop a stream by returning None.
        joint: from an output's position in the call before the stretch to the slot of its first call that
            takes it.
    """

    first: int
    last: int
    passes: Passes
    exits: Passes
    joint: Mapping[int, Slot]


@dataclass(frozen=True)
class Segment:
    """Consecutive calls between which the model leaves the streams unchanged, so they are skipped as one.

    Args:
        first: position of the first call that may be skipped.
        last: position of the last one.
        bases: the slots of the first call in which the streams enter.
        exits: for each output of the last call, the entering slot of its stream.
    """

    first: int
    last: int
    bases: tuple[Slot, ...]
    exits: Passes


def segments(stretches: Sequence[Stretch]) -> list[Segment]:
    """Join stretches whose streams continue unchanged."""
    joined: list[Segment] = []
    for stretch in stretches:
        entry = _continued(joined[-1], stretch) if joined else None
        if entry is None:
            bases = tuple(dict.fromkeys(slot for slot in stretch.passes.slots if slot is not None))
            joined.append(Segment(stretch.first, stretch.last, bases, stretch.exits))
        else:
            before = joined.pop()
            slots = tuple(None if slot is None else entry[slot] for slot in stretch.exits.slots)
            exits = Passes(slots, stretch.exits.is_tuple)
            joined.append(Segment(before.first, stretch.last, before.bases, exits))
    return joined


def _continued(before: Segment, after: Stretch) -> dict[Slot, Slot] | None:
    """For each stream slot of ``after`` the entering slot of ``before``; None if a stream is new."""
    if after.first != before.last + 1:
        return None
    entry = {slot: before.exits.slots[position] for position, slot in after.joint.items()}
    known = {slot: base for slot, base in entry.items() if base is not None}
    wanted = {slot for slot in after.passes.slots if slot is not None}
    return known if wanted <= known.keys() else None
