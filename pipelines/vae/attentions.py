"""Attentions that see all earlier frames, whose keys and values are remembered."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from skipstone.pipelines.vae.units import Forward, NothingYet


@dataclass
class Kept:
    """The keys and values of all frames so far, one pair for each attention of the part, in their order."""

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class Memory:
    """Run an attention on the new frames, each of which sees all frames up to itself."""

    right: ClassVar[int] = 0

    def new_state(self) -> Kept:
        return Kept()

    def run(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _Remembering(state, args[0].shape[2]):
            return forward(*args, **kwargs)

    def end(self, forward: Forward, state: Kept, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NothingYet


class _Remembering(TorchFunctionMode):
    """Put earlier keys and values before the new ones, in this thread, and let no frame see later ones."""

    def __init__(self, state: Kept, frames: int) -> None:
        super().__init__()
        self._state = state
        self._frames = frames
        self._number = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        return self._attend(query, key, value, (kwargs or {}).get("scale"))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attention of one frame after the other, ``(batch, heads, frames * positions, dim)`` each."""
        number, self._number = self._number, self._number + 1
        positions, new = query.shape[-2] // self._frames, key.shape[-2]
        if number < len(self._state.pairs):
            earlier = self._state.pairs[number]
            key, value = (torch.cat(pair, dim=-2) for pair in zip(earlier, (key, value), strict=True))
            self._state.pairs[number] = key, value
        else:
            self._state.pairs.append((key, value))
        before, found = key.shape[-2] - new, []
        for n, one in enumerate(torch.split(query, positions, dim=-2), 1):
            seen = before + n * positions
            keys, values = key[..., :seen, :], value[..., :seen, :]
            found.append(functional.scaled_dot_product_attention(one, keys, values, scale=scale))
        return torch.cat(found, dim=-2)
