"""Run the Wan autoencoder over a whole clip at once: the chunked result, in a fraction of the time."""

from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanDecoder3d,
    WanEncoder3d,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
    patchify,
    unpatchify,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from fused_norm import norm_silu
from torch import Tensor, nn

LAST = torch.channels_last_3d


def after(layer: WanCausalConv3d, frames: Tensor) -> Tensor:
    """The convolution of frames that have its empty past before them."""
    kind, side = frames.dtype, layer._padding[0]
    weight = layer.weight.to(kind, memory_format=LAST)
    return F.conv3d(frames, weight, layer.bias.to(kind), layer.stride, (0, side, side))


def causal(layer: WanCausalConv3d, frames: Tensor) -> Tensor:
    return after(layer, F.pad(frames, (0, 0, 0, 0, layer._padding[4], 0)))


def active(norm: WanRMS_norm, layer: WanCausalConv3d, frames: Tensor) -> Tensor:
    """Norm, SiLU, convolution."""
    return after(layer, norm_silu(frames, norm.gamma, layer._padding[4]))


def each(frames: Tensor) -> Tensor:
    """The frames as a batch of pictures; no copy in this memory layout."""
    return frames.transpose(1, 2).flatten(0, 1)


def together(pictures: Tensor, clips: int) -> Tensor:
    return pictures.unflatten(0, (clips, -1)).transpose(1, 2)


def flat_convolution(layer: nn.Conv2d, pictures: Tensor) -> Tensor:
    kind = pictures.dtype
    weight = layer.weight.to(kind, memory_format=torch.channels_last)
    return F.conv2d(pictures, weight, layer.bias.to(kind), layer.stride, layer.padding)


def residual(block: WanResidualBlock, frames: Tensor, *_: object, **__: object) -> Tensor:
    shortcut = block.conv_shortcut
    kept = causal(shortcut, frames) if isinstance(shortcut, WanCausalConv3d) else frames
    frames = active(block.norm1, block.conv1, frames)
    return kept + active(block.norm2, block.conv2, frames)


def attention(block: WanAttentionBlock, frames: Tensor, *_: object, **__: object) -> Tensor:
    pictures = each(frames)
    height, width = pictures.shape[2:]
    mixed = flat_convolution(block.to_qkv, block.norm(pictures).to(frames.dtype))
    query, key, value = mixed.flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
    mixed = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2)
    mixed = flat_convolution(block.proj, mixed.unflatten(2, (height, width)))
    return frames + together(mixed, len(frames))


def in_space(layer: WanResample, frames: Tensor) -> Tensor:
    """The layer's spatial part, frame by frame."""
    first, convolution = layer.resample
    pictures = each(frames)
    pictures = (
        first(pictures) if isinstance(first, nn.ZeroPad2d) else F.interpolate(pictures, scale_factor=2.0)
    )
    return together(flat_convolution(convolution, pictures), len(frames))


def doubled_in_time(layer: WanResample, frames: Tensor) -> Tensor:
    """Two frames for each but the first, whose successors do not see it here."""
    pairs = causal(layer.time_conv, frames[:, :, 1:]).unflatten(1, (2, -1))
    joined = torch.cat([frames[:, :, :1], pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)], 2)
    return joined.contiguous(memory_format=LAST)


def resampled(layer: WanResample, frames: Tensor, *_: object, **__: object) -> Tensor:
    """The layer without its memory of earlier chunks."""
    if layer.mode == "upsample3d":
        return in_space(layer, doubled_in_time(layer, frames))
    frames = in_space(layer, frames)
    if layer.mode == "downsample3d":
        return torch.cat([frames[:, :, :1], causal(layer.time_conv, frames)], 2)
    return frames


def encoded(encoder: WanEncoder3d, frames: Tensor) -> Tensor:
    frames = causal(encoder.conv_in, frames)
    for layer in encoder.down_blocks:
        frames = layer(frames)
    return active(encoder.norm_out, encoder.conv_out, encoder.mid_block(frames))


def decoded(decoder: WanDecoder3d, latents: Tensor) -> Tensor:
    frames = decoder.mid_block(causal(decoder.conv_in, latents))
    for layer in decoder.up_blocks:
        frames = layer(frames)
    return active(decoder.norm_out, decoder.conv_out, frames)


PASSES: dict[type[nn.Module], Callable[..., Tensor]] = {
    WanResidualBlock: residual,
    WanAttentionBlock: attention,
    WanResample: resampled,
    WanEncoder3d: encoded,
    WanDecoder3d: decoded,
}


class WholeClip:
    """An autoencoder whose layers see the whole clip, in the memory layout and precision that a GPU likes.

    Args:
        autoencoder: its layers' `forward` are replaced.
        precision: of the activations.
    """

    def __init__(self, autoencoder: AutoencoderKLWan, precision: torch.dtype) -> None:
        self.autoencoder, self.precision = autoencoder, precision
        self._patch = autoencoder.config.patch_size or 1
        for layer in autoencoder.modules():
            if type(layer) in PASSES:
                layer.forward = MethodType(PASSES[type(layer)], layer)

    def _prepared(self, given: Tensor) -> Tensor:
        return given.to(self.precision, memory_format=LAST)

    def encode(self, clips: Tensor) -> DiagonalGaussianDistribution:
        patches = patchify(clips, self._patch)
        latents = self.autoencoder.encoder(self._prepared(patches))
        return DiagonalGaussianDistribution(causal(self.autoencoder.quant_conv, latents))

    def decode(self, latents: Tensor) -> Tensor:
        """Without the clamp at the end, which would stop the gradient."""
        latents = causal(self.autoencoder.post_quant_conv, self._prepared(latents))
        return unpatchify(self.autoencoder.decoder(latents), self._patch)
