"""The frames, rows and columns of the tokens in a model's main stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from skipstone.pipelines.model.probes import model_input


@dataclass(frozen=True)
class Grid:
    """The sample's size in tokens.

    Args:
        batch: how many samples.
        frames: how many frames of tokens; 1 for an image.
        positions: how many tokens a frame has.
    """

    batch: int
    frames: int
    positions: int

    def framed(self, tokens: Tensor) -> Tensor:
        """Reshape a stream ``(rows, tokens, dim)`` to ``(batch, frames, positions, dim)``.

        Blocks that attend only in space or only in time have the other axis among their rows. If text or
        earlier frames share a sequence with the video, they come first and are left out. If the tokens do not
        fit this grid otherwise, all of them are one frame.
        """
        length = self.frames * self.positions
        if self.frames > 1 and len(tokens) == self.batch and tokens.shape[1] > length:
            tokens = tokens[:, -length:]
        if tokens.shape[0] * tokens.shape[1] != self.batch * length:
            return tokens.unsqueeze(1)
        if tokens.shape[:2] == (self.batch * self.positions, self.frames):
            apart = tokens.reshape(self.batch, self.positions, self.frames, -1)
            return apart.transpose(1, 2)
        return tokens.reshape(self.batch, self.frames, self.positions, -1)


def token_grid(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Grid | None:
    """The token grid of the latents in a model's call; None if the model takes no latents.

    It follows from the latents' size and the patch size, or from the positions of packed latents.
    """
    latents = model_input(model, args, kwargs)
    if latents is None:
        return None
    batch, _, *sizes = latents.shape
    told = [kwargs.get(name) for name in ("num_frames", "height", "width")]
    if len(sizes) == 1:
        sizes = [size for size in told if isinstance(size, int)] or sizes
    elif len(sizes) <= 3:
        patches = _patch(model)[3 - len(sizes) :]
        sizes = [size // patch for size, patch in zip(sizes, patches, strict=True)]
    frames, *rest = [1] * (3 - len(sizes)) + sizes
    return Grid(batch, frames, prod(rest))


def _patch(model: nn.Module) -> tuple[int, int, int]:
    """How many latent frames, rows and columns become one token."""
    config = getattr(model, "config", {})
    size = config.get("patch_size") or 1
    if isinstance(size, int):
        return config.get("patch_size_t") or 1, size, size
    frames, rows, columns = [1, *size][-3:]
    return frames, rows, columns
