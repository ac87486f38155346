"""Run the Wan autoencoder over a whole clip at once: the chunked result, in a ninth of the launches."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResample
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution


def in_space(layer: WanResample, frames: torch.Tensor) -> torch.Tensor:
    """The layer's spatial part, frame by frame."""
    flat = frames.transpose(1, 2).flatten(0, 1)
    return layer.resample(flat).unflatten(0, (len(frames), -1)).transpose(1, 2)


def doubled_in_time(layer: WanResample, frames: torch.Tensor) -> torch.Tensor:
    """Two frames for each but the first, whose successors do not see it here."""
    pairs = layer.time_conv(frames[:, :, 1:]).unflatten(1, (2, -1))
    return torch.cat([frames[:, :, :1], pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)], 2)


class WholeClip:
    """An autoencoder's encoder and decoder with the resampling layers' chunk memory taken out."""

    def __init__(self, autoencoder: AutoencoderKLWan) -> None:
        self.autoencoder = autoencoder
        for layer in autoencoder.modules():
            if isinstance(layer, WanResample):
                layer.forward = self.resampling(layer)

    @staticmethod
    def resampling(layer: WanResample) -> Callable[..., torch.Tensor]:
        def forward(frames: torch.Tensor, *_: object) -> torch.Tensor:
            if layer.mode == "upsample3d":
                return in_space(layer, doubled_in_time(layer, frames))
            frames = in_space(layer, frames)
            if layer.mode == "downsample3d":
                return torch.cat([frames[:, :, :1], layer.time_conv(frames)], 2)
            return frames

        return forward

    def encode(self, clips: torch.Tensor) -> DiagonalGaussianDistribution:
        return DiagonalGaussianDistribution(self.autoencoder.quant_conv(self.autoencoder.encoder(clips)))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Without the clamp at the end, which would stop the gradient."""
        return self.autoencoder.decoder(self.autoencoder.post_quant_conv(latents))
