"""Run the Wan autoencoder over a whole clip at once: the chunked result, in a fraction of the time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor


def in_space(layer: WanResample, frames: Tensor) -> Tensor:
    """The layer's spatial part, frame by frame."""
    flat = frames.transpose(1, 2).flatten(0, 1)
    return layer.resample(flat).unflatten(0, (len(frames), -1)).transpose(1, 2)


def doubled_in_time(layer: WanResample, frames: Tensor) -> Tensor:
    """Two frames for each but the first, whose successors do not see it here."""
    pairs = layer.time_conv(frames[:, :, 1:]).unflatten(1, (2, -1))
    return torch.cat([frames[:, :, :1], pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)], 2)


def resampling(layer: WanResample) -> Callable[..., Tensor]:
    """The layer without its memory of earlier chunks."""

    def forward(frames: Tensor, *_: object) -> Tensor:
        if layer.mode == "upsample3d":
            return in_space(layer, doubled_in_time(layer, frames))
        frames = in_space(layer, frames)
        if layer.mode == "downsample3d":
            return torch.cat([frames[:, :, :1], layer.time_conv(frames)], 2)
        return frames

    return forward


def in_half(frames: Tensor) -> Tensor:
    """In the precision that the convolution will take, before frames are copied for it."""
    kind = frames.device.type
    return frames.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else frames


def convolution(layer: WanCausalConv3d) -> Callable[..., Tensor]:
    """The layer as a convolution of planes whose channels hold the earlier frames too: faster on a GPU."""
    span, stride = layer.kernel_size[0], layer.stride[0]
    side, past = layer._padding[0], layer._padding[4]

    def forward(frames: Tensor, *_: object) -> Tensor:
        padded = F.pad(in_half(frames), (0, 0, 0, 0, past, 0))
        ends = range(padded.shape[2] - span + 1, padded.shape[2] + 1)
        stacked = torch.cat([padded[:, :, end - ends[0] : end : stride] for end in ends], 1)
        weight = layer.weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        planes = stacked.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        planes = F.conv2d(planes, weight, layer.bias, padding=side)
        return planes.unflatten(0, (len(frames), -1)).transpose(1, 2)

    return forward


class WholeClip:
    """An autoencoder whose layers see the whole clip."""

    def __init__(self, autoencoder: AutoencoderKLWan) -> None:
        self.autoencoder = autoencoder
        for layer in autoencoder.modules():
            if isinstance(layer, WanResample):
                layer.forward = resampling(layer)
            elif isinstance(layer, WanCausalConv3d):
                layer.forward = convolution(layer)

    def encode(self, clips: Tensor) -> DiagonalGaussianDistribution:
        return DiagonalGaussianDistribution(self.autoencoder.quant_conv(self.autoencoder.encoder(clips)))

    def decode(self, latents: Tensor) -> Tensor:
        """Without the clamp at the end, which would stop the gradient."""
        return self.autoencoder.decoder(self.autoencoder.post_quant_conv(latents))
