"""A small video autoencoder whose decoder a test makes."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Causal(nn.Module):
    """A causal convolution over three frames, with memory for few frames.

    ``most`` is how many it may be given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, (3, 1, 1), dtype=torch.float64)
        self.most = 1000

    def forward(self, video: Tensor) -> Tensor:
        if video.shape[2] > self.most:
            raise torch.OutOfMemoryError("there is no room for so many frames")
        made: Tensor = self.conv(functional.pad(video, (0, 0, 0, 0, 2, 0)))
        return made


class ToyAutoencoder(nn.Module):
    """An autoencoder of latents with four channels; by default of two causal convolutions."""

    def __init__(self, decoder: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder = decoder or nn.Sequential(Causal(), nn.SiLU(), Causal())
        self.config = {"latent_channels": 4, "decoder": repr(self.decoder)}

    def decode(self, video: Tensor, return_dict: bool = True) -> Any:
        sample = self.decoder(video)
        return SimpleNamespace(sample=sample) if return_dict else (sample,)
