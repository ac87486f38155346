"""The conditional half of a batch that holds both branches of guidance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.outputs import floats_in, refilled

CONDITIONAL_FIRST = {"DiTTransformer2DModel"}
"""The models whose pipelines put the conditional half first. All others put it last."""

OF_NO_SAMPLE = ("rotary", "img_ids", "txt_ids")
"""One of these is in the name of what all samples share, whatever its length."""


@dataclass(frozen=True)
class Half:
    """Takes one half of what belongs to a batch.

    Args:
        batch: the samples of the whole batch.
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
        """The whole output from those of its halves."""
        pairs = zip(floats_in(cond), floats_in(uncond), strict=True)
        return refilled(cond, (torch.cat((a, b) if self.is_first else (b, a)) for a, b in pairs))

    def arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A model's arguments for the conditional half alone."""
        named = {
            name: value
            if any(word in name for word in OF_NO_SAMPLE)
            else self._part(value, name.startswith("encoder"))
            for name, value in kwargs.items()
        }
        return tuple(self._part(value) for value in args), named

    def _part(self, value: Any, is_text: bool = False) -> Any:
        """Half of every tensor with a sample for each of the batch; text may be there for each frame."""
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
    """How to take half of a batch of latents, None where its halves are not the same."""
    if len(latents) < 2 or len(latents) % 2 or not torch.equal(*latents.chunk(2)):
        return None
    return Half(len(latents), type(model).__name__ in CONDITIONAL_FIRST)
