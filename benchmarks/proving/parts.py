"""What the proving models share: autoencoders, text encoders and tokenizers of the bundled models."""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, ConfigMixin, ModelMixin
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5EncoderModel,
    UMT5EncoderModel,
)

from skipstone.pipelines import bundled

SIDE = 64
FRAMES = 17
CAPTION_TOKENS = 32


@dataclass(frozen=True)
class StillParts:
    """Of the bundled image pipeline."""

    vae: AutoencoderKL
    clip: CLIPTextModel
    clip_tokenizer: Any
    t5: T5EncoderModel
    t5_tokenizer: Any


@dataclass(frozen=True)
class ClipParts:
    """Of the bundled video pipeline."""

    vae: AutoencoderKLWan
    t5: UMT5EncoderModel
    t5_tokenizer: Any


@cache
def still_parts() -> StillParts:
    """The bundled image pipeline without its transformer."""
    folder = bundled.folder("pebble-image")
    return StillParts(
        AutoencoderKL.from_pretrained(folder / "vae"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
        T5EncoderModel.from_pretrained(folder / "text_encoder_2"),
        AutoTokenizer.from_pretrained(folder / "tokenizer_2"),
    )


@cache
def clip_parts() -> ClipParts:
    """The bundled video pipeline without its transformer."""
    folder = bundled.folder("pebble-video")
    return ClipParts(
        AutoencoderKLWan.from_pretrained(folder / "vae"),
        UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )


def projecting(encoder: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The encoder with a projection that changes nothing."""
    made = CLIPTextModelWithProjection(encoder.config)
    weights = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    made.text_model.load_state_dict(weights)
    with torch.no_grad():
        made.text_projection.weight.copy_(torch.eye(encoder.config.hidden_size))
    return made.eval()


class Projection(nn.Module):
    """The principal components of blocks of latents.

    Args:
        channels: how many are kept.
        of_block: numbers in a block.
    """

    def __init__(self, channels: int, of_block: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(channels, of_block))
        self.register_buffer("centre", torch.zeros(of_block))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def fit(self, blocks: Tensor) -> None:
        """Take the principal components of blocks ``(batch, of_block, ...)``."""
        rows = blocks.movedim(1, -1).flatten(0, -2).float()
        self.centre.copy_(rows.mean(0))
        _, _, directions = torch.linalg.svd(rows - self.centre, full_matrices=False)
        self.directions.copy_(directions[: len(self.directions)])
        self.std.copy_(((rows - self.centre) @ self.directions.T).std(0))


class CompressingAutoencoder(ModelMixin, ConfigMixin):
    """The bundled clips' latents, blocks of 4 x 4 of them as the channels of one, projected linearly.

    LTX's pipeline asks its autoencoder for the compression ratios and for the latents' mean and deviation.

    Args:
        projection: of blocks onto channels.
        autoencoder: makes the latents.
    """

    config_name = "config.json"
    spatial_compression_ratio: ClassVar[int] = 16
    temporal_compression_ratio: ClassVar[int] = 4
    block: ClassVar[int] = 4

    def __init__(self, projection: Projection, autoencoder: AutoencoderKLWan) -> None:
        super().__init__()
        self.projection, self.autoencoder = projection, autoencoder
        self.register_to_config(scaling_factor=1.0, timestep_conditioning=False)

    @property
    def latents_mean(self) -> Tensor:
        return torch.zeros_like(self.latents_std)

    @property
    def latents_std(self) -> Tensor:
        std: Tensor = self.projection.std
        return std

    def encode(self, pictures: Tensor) -> Tensor:
        """Clips to latents ``(batch, channels, frames, height / 16, width / 16)``, fitted on the first."""
        blocks = _blocks(self.autoencoder.encode(pictures).latent_dist.mode(), self.block).float()
        if not self.projection.centre.any():
            self.projection.fit(blocks)
        centred = blocks - self.projection.centre.view(1, -1, 1, 1, 1)
        return torch.einsum("bcfhw,nc->bnfhw", centred, self.projection.directions)

    def decode(self, latents: Tensor, timestep: None = None, return_dict: bool = False) -> tuple[Tensor]:
        """Clips of latents."""
        blocks = torch.einsum("bnfhw,nc->bcfhw", latents, self.projection.directions.to(latents.dtype))
        blocks = blocks + self.projection.centre.view(1, -1, 1, 1, 1).to(latents.dtype)
        return (self.autoencoder.decode(_from_blocks(blocks, self.block), return_dict=False)[0],)


def _blocks(latents: Tensor, side: int) -> Tensor:
    parts = latents.unflatten(4, (-1, side)).unflatten(3, (-1, side))
    return parts.permute(0, 1, 4, 6, 2, 3, 5).flatten(1, 3)


def _from_blocks(blocks: Tensor, side: int) -> Tensor:
    parts = blocks.unflatten(1, (-1, side, side))
    return parts.permute(0, 1, 4, 5, 2, 6, 3).flatten(5, 6).flatten(3, 4)
