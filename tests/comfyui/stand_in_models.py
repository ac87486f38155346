"""Kinds of noise levels, and a tiny transformer for pictures and clips."""

from typing import Any

import torch
from comfyui.stand_in import WrappedModel
from torch import Tensor, nn


class Flow:
    """Noise and sample are mixed linearly; the output is a velocity."""

    sigma_max = 1.0
    """Runs that begin here begin with noise alone."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        return x

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        return x - _like(sigma, output) * output

    def noise_scaling(self, sigma: Tensor, noise: Tensor, clean: Tensor, whole: bool = False) -> Tensor:
        return sigma * noise + (1 - sigma) * clean

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * 1000


class Epsilon(Flow):
    """Noise is added to the sample; the output is the noise."""

    sigma_max = 12.5

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        return x / (_like(sigma, x) ** 2 + 1) ** 0.5

    def noise_scaling(self, sigma: Tensor, noise: Tensor, clean: Tensor, whole: bool = False) -> Tensor:
        return noise * ((1 + sigma**2) ** 0.5 if whole else sigma) + clean


class Velocity(Epsilon):
    """Noise is added to the sample; the output is v."""

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        level = _like(sigma, output)
        return x / (level**2 + 1) - output * level / (level**2 + 1) ** 0.5


class Sample(Epsilon):
    """Noise is added to the sample; the output is the sample."""

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        return output


def _like(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.view(-1, *[1] * (x.ndim - 1))


class TinyTransformer(WrappedModel):
    """Attends among all places of a picture or clip ``(batch, channels, ...)``, and to a context."""

    def __init__(self, blocks: int = 2, channels: int = 4, dim: int = 16) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(channels, dim), nn.Linear(dim, channels)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(dim, 2, 2 * dim, 0.0, batch_first=True) for _ in range(blocks)
        )

    def _forward(
        self, x: Tensor, time: Tensor, context: Tensor, transformer_options: Any, control: Any = None
    ) -> Tensor:
        tokens = self.embed(x.flatten(2).transpose(1, 2)) + (time / 1000).sin().view(-1, 1, 1)
        for number, block in enumerate(self.blocks):
            if ("layers", number) in transformer_options.get("patches_replace", {}).get("dit", {}):
                continue
            tokens = block(tokens, context)
        if control is not None:
            tokens = tokens + control["middle"][0].flatten(2).transpose(1, 2)
        return self.head(tokens).transpose(1, 2).reshape(x.shape).contiguous()


def context(seed: int, words: int = 3, dim: int = 16) -> Tensor:
    """A prompt."""
    return torch.randn(1, words, dim, generator=torch.Generator().manual_seed(seed))
