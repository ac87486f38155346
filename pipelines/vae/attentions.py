"""Attentions that see all earlier frames, whose keys and values are remembered."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from skipstone.pipelines.vae.units import Forward, NothingYet

AT_ONCE = 2**27
"""How many bytes of keys and values are brought to the device at a time, where the batch can be divided."""

Pair = tuple[Tensor, Tensor]
"""Keys and values, ``(batch, heads, frames * positions, dim)`` each."""


@dataclass
class Kept:
    """The keys and values of each chunk so far, for each attention of the part, in their order.

    They are all that grows with a video. Those of a CUDA device wait in the host's memory.
    """

    pairs: list[list[Pair]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """Run an attention on the new frames, each of which sees all frames up to itself."""

    right: ClassVar[int] = 0

    def new_state(self) -> Kept:
        return Kept()

    def run(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Remembering(state, args[0].shape[2:]):
            return forward(*args, **kwargs)

    def end(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NothingYet


class _Remembering(TorchFunctionMode):
    """Put earlier keys and values before the new ones, in this thread, and let no frame see later ones.

    Args:
        state: the earlier ones.
        size: of the new frames: how many, their height and their width.
    """

    def __init__(self, state: Kept, size: torch.Size) -> None:
        super().__init__()
        self._state = state
        self._frames = size[0]
        self._tokens = math.prod(size)
        self._number = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        given = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            return self._attend(query, key, value, given.get("scale"))
        if func is torch.full and tuple(args[0]) == (self._tokens, self._tokens):
            return torch.empty(1, 1).as_subclass(_Unread)
        return func(*args, **given)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attention of the new frames to all so far, for as many of the batch at a time as there is room."""
        if self._number == len(self._state.pairs):
            self._state.pairs.append([])
        pairs = self._state.pairs[self._number]
        self._number += 1
        pairs.append((_kept(key), _kept(value)))
        made = (self._of(one, earlier, scale) for one, earlier in _divided(query, pairs))
        return torch.cat(list(made))

    def _of(self, query: Tensor, pairs: Iterable[Pair], scale: float | None) -> Tensor:
        """Attention of one frame after the other."""
        keys, values = (_brought(each, query.device) for each in zip(*pairs, strict=True))
        positions = query.shape[-2] // self._frames
        before, found = keys.shape[-2] - query.shape[-2], []
        for n, one in enumerate(torch.split(query, positions, dim=-2), 1):
            seen = before + n * positions
            # Fast kernels want the elements of a token side by side.
            mixed = functional.scaled_dot_product_attention(
                one.contiguous(), keys[..., :seen, :], values[..., :seen, :], scale=scale
            )
            found.append(mixed)
        return torch.cat(found, dim=-2)


class _Unread(Tensor):
    """A mask that nothing reads. To write it row by row would take long."""

    def __setitem__(self, *_: Any) -> None:
        """Lose what is written."""


def _kept(tensor: Tensor) -> Tensor:
    """A copy that waits for later frames."""
    if tensor.device.type != "cuda":
        return tensor.clone(memory_format=torch.contiguous_format)
    host = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _brought(pieces: Iterable[Tensor], device: torch.device) -> Tensor:
    return torch.cat([piece.to(device, non_blocking=True) for piece in pieces], dim=-2)


def _divided(query: Tensor, pairs: list[Pair]) -> Iterator[tuple[Tensor, list[Pair]]]:
    """Queries, and the keys and values that belong to them, for parts of the batch."""
    size = sum(one.nbytes for pair in pairs for one in pair)
    rows = max(1, len(query) * AT_ONCE // size)
    for begin in range(0, len(query), rows):
        of = slice(begin, begin + rows)
        yield query[of], [(key[of], value[of]) for key, value in pairs]
