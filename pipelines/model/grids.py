"""Which frame, row and column the tokens of a model's main stream stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from skipstone.pipelines.model.probes import model_input


@dataclass(frozen=True)
class Grid:
    """The sample as the blocks see it, in tokens.

    Args:
        batch: samples.
        frames: frames of tokens, 1 for an image.
        positions: tokens of a frame.
    """

    batch: int
    frames: int
    positions: int

    def framed(self, tokens: Tensor) -> Tensor:
        """A stream, ``(rows, tokens, dim)``, as ``(batch, frames, positions, dim)``.

        Blocks that attend in space or time alone have the other axis among their rows. Text or earlier frames
        in one sequence with a video's come first, and are left out. Where else the tokens are not those of
        this grid, all of them are one frame.
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
    """The grid of the tokens that a model makes of the latents it is called with, None if it takes none.

    It is that of the latents in patches, or what the model is told of latents that come packed into tokens.
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
    """Latent frames, rows and columns that become one token."""
    config = getattr(model, "config", {})
    size = config.get("patch_size") or 1
    if isinstance(size, int):
        return config.get("patch_size_t") or 1, size, size
    frames, rows, columns = [1, *size][-3:]
    return frames, rows, columns
