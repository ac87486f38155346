"""What a kind of proving model is: its networks, its pipeline, and what its networks are trained to give."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from parts import clip_parts, still_parts
from torch import Tensor, nn

Networks = dict[str, nn.Module]


class Kind(ABC):
    """One proving model.

    ``call`` holds the arguments of its pipeline's call beside the prompt, ``guidance`` the name of the one
    that is the guidance scale, ``moving`` says whether it makes clips, ``teacher`` names the kind whose model
    it is distilled from. In training, ``taught_by`` holds the teacher's networks and the empty caption.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    moving: ClassVar[bool] = False
    guidance: ClassVar[str] = "guidance_scale"
    teacher: ClassVar[str | None] = None
    call: ClassVar[Mapping[str, Any]]

    taught_by: tuple[Networks, list[Tensor]]

    @abstractmethod
    def networks(self) -> Networks:
        """The networks to be trained, by their names in the pipeline."""

    @abstractmethod
    def pipeline(self, networks: Networks) -> Any:
        """The pipeline around them."""

    @abstractmethod
    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        """What the pipeline makes of captions for its networks."""

    @abstractmethod
    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        """How far the networks are off on a batch."""

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        """The latents of pictures ``(batch, 3, frames, height, width)`` as the networks see them."""
        return clip_latents(pictures) if self.moving else still_latents(pictures, shifted=True)

    def examples(self, pipe: Any, pictures: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
        """What the loss is taken on: the latents of the pictures, unless it has a teacher."""
        return self.encode(pipe, pictures)


def still_latents(pictures: Tensor, shifted: bool) -> Tensor:
    """Scaled latents of stills; some pipelines know no shift."""
    autoencoder = still_parts().vae
    latents = autoencoder.encode(pictures[:, :, 0]).latent_dist.mode()
    shift = autoencoder.config.shift_factor if shifted else 0.0
    return (latents - shift) * autoencoder.config.scaling_factor


def clip_latents(pictures: Tensor) -> Tensor:
    """Whitened latents of clips."""
    autoencoder = clip_parts().vae
    latents = autoencoder.encode(pictures).latent_dist.mode()
    mean = latents.new_tensor(autoencoder.config.latents_mean).view(1, -1, 1, 1, 1)
    std = latents.new_tensor(autoencoder.config.latents_std).view(1, -1, 1, 1, 1)
    return (latents - mean) / std


def timesteps(latents: Tensor, count: int = 1000) -> Tensor:
    """Uniform timesteps, one a sample."""
    return torch.randint(0, count, (len(latents),), device=latents.device)


def diffused(latents: Tensor, kept: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noised latents of a variance preserving process, the noise, and the roots of both shares.

    Args:
        latents: ``(batch, ...)``.
        kept: the sample's share of the variance at each timestep.
        times: ``(batch,)``.
    """
    noise = torch.randn_like(latents)
    share = kept.to(latents.device)[times].view(-1, *[1] * (latents.ndim - 1))
    signal, level = share.sqrt(), (1 - share).sqrt()
    return signal * latents + level * noise, noise, signal, level


def squared(predicted: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared error in float32."""
    return (predicted.float() - wanted).square().mean()
