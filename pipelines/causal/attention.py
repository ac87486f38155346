"""The self-attentions of Wan and its kin, by another rule where a caller asks for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.class_swap import Swap, give_subclass, plain
from skipstone.pipelines.model.compiled import uncompiled
from skipstone.pipelines.run.per_task import PerTask

UNDERSTOOD = ("SkyReelsV2AttnProcessor", "WanAttnProcessor")
"""The attention processors of diffusers whose arithmetic is done here."""

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each ``(1, tokens, 1, dim)`` with every number twice."""


@dataclass
class KeysValues:
    """Keys and values of some tokens in one layer, each ``(batch, tokens, heads, dim)``."""

    keys: Tensor
    values: Tensor

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    @property
    def tokens(self) -> int:
        return self.keys.shape[1]

    def part(self, begin: int | None, end: int | None) -> "KeysValues":
        """A view of these tokens."""
        return KeysValues(self.keys[:, begin:end], self.values[:, begin:end])

    def then(self, later: "KeysValues") -> "KeysValues":
        """These tokens followed by later ones."""
        pairs = ((self.keys, later.keys), (self.values, later.values))
        return KeysValues(*(torch.cat(pair, dim=1) for pair in pairs))

    def copied(self) -> "KeysValues":
        """The same without the memory of the tensors that it is a view of."""
        return KeysValues(self.keys.clone(), self.values.clone())


class Rule(Protocol):
    """What a layer's new tokens attend to."""

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: "Attend") -> Tensor:
        """The attention's output, ``(batch, tokens, heads, dim)``.

        Args:
            layer: the layer's number.
            query: the queries of the new tokens before rotation, ``(batch, tokens, heads, dim)``.
            new: their keys and values, also before rotation.
            rotary: what the model's rotary embedding gave.
            attend: attention without a mask.
        """


Attend = Callable[[Tensor, KeysValues], Tensor]
"""Attention of rotated queries to rotated keys."""


class SelfAttentions:
    """Let a rule compute a model's self-attentions within `by`, until `remove`.

    Args:
        model: a Wan or SkyReels-V2 transformer.
        rule: computes those of all other calls; None for the model itself.

    ``why_not`` tells why a rule cannot compute them now; None if it can.
    """

    def __init__(self, model: Any, rule: Rule | None = None) -> None:
        self._layers: list[nn.Module] = [block.attn1 for block in model.blocks.children()]
        self._numbers = {attention: number for number, attention in enumerate(self._layers)}
        self._rule: PerTask[Rule | None] = PerTask(rule)
        processors = {id(p): p for p in self._processors()}
        self._swaps = [self._watched(processor) for processor in processors.values()]
        self._watching = processors

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def why_not(self) -> str | None:
        for processor in self._processors():
            if plain(type(processor)).__name__ not in UNDERSTOOD or id(processor) not in self._watching:
                return f"its attention processor is {plain(type(processor)).__name__}"
            if getattr(processor, "_parallel_config", None) is not None:
                return "processes share its tokens"
        return None

    @property
    def rule(self) -> Rule | None:
        """The rule of calls from this thread or task; None for the model itself."""
        return self._rule.get()

    @contextmanager
    def by(self, rule: Rule) -> Iterator[None]:
        """Calls of the model inside, from this thread or task, follow a rule."""
        before = self._rule.get()
        self._rule.set(rule)
        try:
            yield
        finally:
            self._rule.set(before)

    def remove(self) -> None:
        """Restore the attentions; a second call does nothing."""
        for swap in self._swaps:
            swap.undo()

    def _processors(self) -> list[Any]:
        return [attention.processor for attention in self._layers]

    def _watched(self, processor: Any) -> Swap:
        cls, rule_now, numbers = type(processor), self._rule, self._numbers

        def call(self: Any, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            rule = rule_now.get()
            if rule is None or attn not in numbers:
                return cls.__call__(self, attn, hidden_states, *args, **kwargs)
            rotary = kwargs["rotary_emb"] if "rotary_emb" in kwargs else args[2]
            query, new = projected(attn, hidden_states)
            mixed = rule.mixed(numbers[attn], query, new, rotary, _attend_by(self))
            output, dropout = attn.to_out
            return dropout(output(mixed.flatten(2).type_as(query)))

        return give_subclass(processor, {"__call__": uncompiled(call, recursive=False)})


def projected(attn: Any, hidden_states: Tensor) -> tuple[Tensor, KeysValues]:
    """The queries, and the keys and values, of a self-attention before rotation."""
    if getattr(attn, "fused_projections", False):
        query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
    else:
        query, key, value = (layer(hidden_states) for layer in (attn.to_q, attn.to_k, attn.to_v))
    normed = (attn.norm_q(query), attn.norm_k(key), value)
    by_heads = (part.reshape(*part.shape[:2], attn.heads, -1) for part in normed)
    return next(by_heads), KeysValues(*by_heads)


def rotated(states: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys at their places, ``(batch, tokens, heads, dim)``."""
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    first, second = states.reshape(*states.shape[:-1], -1, 2).unbind(-1)
    turned = (first * cos - second * sin, first * sin + second * cos)
    return torch.stack(turned, dim=-1).flatten(-2).type_as(states)


def _attend_by(processor: Any) -> Attend:
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    def attend(query: Tensor, seen: KeysValues) -> Tensor:
        backend = getattr(processor, "_attention_backend", None)
        mixed: Tensor = dispatch_attention_fn(query, seen.keys, seen.values, backend=backend)
        return mixed

    return attend
