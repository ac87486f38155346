"""The conditional half of a batch that holds both branches of guidance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.outputs import floats_in, refilled
from skipstone.pipelines.model.spread_weights import class_name

CONDITIONAL_FIRST = {"DiTTransformer2DModel"}
"""Models whose pipelines put the conditional half first; all others put it last."""

OF_NO_SAMPLE = ("rotary", "img_ids", "txt_ids")
"""Arguments with one of these in their name are shared by all samples, whatever their length."""


@dataclass(frozen=True)
class Half:
    """Take one half of a batch.

    Args:
        batch: how many samples the whole batch has.
        is_first: whether the conditional half is the first one.
    """

    batch: int
    is_first: bool

    def of(self, whole: Tensor) -> Tensor:
        """The conditional half, along the first axis."""
        first, second = whole.chunk(2)
        return first if self.is_first else second

    def other(self, whole: Tensor) -> Tensor:
        """The unconditional half."""
        first, second = whole.chunk(2)
        return second if self.is_first else first

    def join(self, cond: Any, uncond: Any) -> Any:
        """The whole output from the outputs of both halves."""
        pairs = zip(floats_in(cond), floats_in(uncond), strict=True)
        return refilled(cond, (torch.cat((a, b) if self.is_first else (b, a)) for a, b in pairs))

    def arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A model's arguments for the conditional half only."""
        named = {
            name: value
            if any(word in name for word in OF_NO_SAMPLE)
            else self._part(value, name.startswith("encoder"))
            for name, value in kwargs.items()
        }
        return tuple(self._part(value) for value in args), named

    def _part(self, value: Any, is_text: bool = False) -> Any:
        """Half of every tensor with one entry for each sample; text may have one for each frame."""
        if isinstance(value, Tensor):
            samples = len(value) if value.ndim else 0
            belongs = samples == self.batch or (is_text and samples > 0 and samples % self.batch == 0)
            return self.of(value) if belongs else value
        if isinstance(value, dict):
            return {name: self._part(part, is_text) for name, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._part(part, is_text) for part in value)
        return value


def half_of(model: nn.Module, latents: Tensor) -> Half | None:
    """How to take half of a batch of latents; None if its halves differ."""
    if len(latents) < 2 or len(latents) % 2 or not torch.equal(*latents.chunk(2)):
        return None
    return Half(len(latents), class_name(model) in CONDITIONAL_FIRST)
