"""Tiny video autoencoders of diffusers with random weights."""

from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor

CHANNELS = 4
"""Of all their latents."""


def hunyuan_15() -> Any:
    """Causal convolutions, upsamplers that treat the first frame apart, and an attention over all frames."""
    return diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8), layers_per_block=1, spatial_compression_ratio=4,
        temporal_compression_ratio=2,
    )  # fmt: skip


def cosmos() -> Any:
    """Attentions over time with a mask, and an unpatcher that drops frames."""
    blocks = (8, 8, 8)
    return diffusers.AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=blocks, decode_block_out_channels=blocks,
        attention_resolutions=(8,), resolution=32, num_layers=1, spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )  # fmt: skip


def mochi() -> Any:
    """Causal convolutions that return two things, and frames dropped after the decoder."""
    return diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 3, decoder_block_out_channels=(32,) * 3, latent_channels=4,
        layers_per_block=(1,) * 4, temporal_expansions=(2, 3), spatial_expansions=(2, 2),
        add_attention_block=(False,) * 4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4,
    )  # fmt: skip


def ltx(**more: Any) -> Any:
    """Its decoder looks ahead, its encoder does not."""
    blocks, ones = (8, 8, 8), (1, 1, 1, 1)
    settings = {"decoder_inject_noise": (False,) * 4, **more}
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=blocks, decoder_block_out_channels=blocks, patch_size=2,
        layers_per_block=ones, decoder_layers_per_block=ones, spatio_temporal_scaling=(True, True, False),
        decoder_spatio_temporal_scaling=(True, True, False), upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3, **settings,
    )  # fmt: skip


def ltx_2() -> Any:
    """Likewise; its published weights are for a decoder that is not causal."""
    return diffusers.AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=(8, 16, 16), decoder_block_out_channels=(8, 16),
        down_block_types=("LTX2VideoDownBlock3D",) * 3, layers_per_block=(1,) * 4, patch_size=2,
        spatio_temporal_scaling=(True,) * 3, downsample_type=("spatial", "temporal", "spatiotemporal"),
        decoder_layers_per_block=(1,) * 3, decoder_spatio_temporal_scaling=(True,) * 2,
        upsample_type=("spatiotemporal",) * 2, upsample_residual=(True,) * 2, upsample_factor=(2, 2),
        decoder_inject_noise=(False,) * 3, decoder_causal=False, spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )  # fmt: skip


def hunyuan() -> Any:
    """Group norms over all frames, and tiles over time by default."""
    return diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2
    )


def wan(**more: Any) -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True], **more
    )


def wan_22() -> Any:
    return wan(is_residual=True, patch_size=2, in_channels=12, out_channels=12, decoder_base_dim=4)


def qwen() -> Any:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True]
    )


def cogvideox() -> Any:
    return diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2
    )


def kvae() -> Any:
    return diffusers.AutoencoderKLKVAEVideo(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=4)


def kandinsky_6() -> Any:
    blocks = (8, 8, 8)
    return diffusers.Kandinsky6SRVAE(
        latent_channels=4,
        encoder_block_out_channels=blocks,
        decoder_block_out_channels=blocks,
        layers_per_block=1,
    )


def magvit() -> Any:
    return diffusers.AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=2
    )


Make = Callable[[], Any]


def _present(classes: Mapping[str, Make]) -> dict[str, Make]:
    """Those that this diffusers has."""
    return {name: make for name, make in classes.items() if hasattr(diffusers, name.partition(" ")[0])}


BY_TRIAL = _present({
    "AutoencoderKLCosmos": cosmos,
    "AutoencoderKLHunyuanVideo15": hunyuan_15,
    "AutoencoderKLLTX2Video": ltx_2,
    "AutoencoderKLLTXVideo": ltx,
    "AutoencoderKLMochi": mochi,
})  # fmt: skip
"""Whose plan is found by trial."""

BY_OWN_LOOP = _present({
    "AutoencoderKLCogVideoX": cogvideox,
    "AutoencoderKLKVAEVideo": kvae,
    "AutoencoderKLMagvit": magvit,
    "AutoencoderKLQwenImage": qwen,
    "AutoencoderKLWan": wan,
    "AutoencoderKLWan (2.2)": wan_22,
    "Kandinsky6SRVAE": kandinsky_6,
})  # fmt: skip
"""Which have chunks of their own."""

REFUSED = _present({"AutoencoderKLHunyuanVideo": hunyuan})
"""Whose chunks cannot give the whole."""


def made(make: Make, dtype: torch.dtype = torch.float64) -> Any:
    """An autoencoder with weights that are the same each time."""
    torch.manual_seed(0)
    return make().eval().to(dtype)


def latents(frames: int, batch: int = 1, edge: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    noise = torch.Generator().manual_seed(frames)
    shape = batch, CHANNELS, frames, edge, edge
    return torch.randn(shape, generator=noise, dtype=torch.float64).to(dtype)


@torch.no_grad()
def decoded(vae: Any, video: Tensor, **arguments: Any) -> Tensor:
    frames: Tensor = vae.decode(video, return_dict=False, **arguments)[0]
    return frames


def error(made: Tensor, wanted: Tensor) -> float:
    """The largest error, of the largest value; infinite where the shapes differ."""
    if made.shape != wanted.shape:
        return float("inf")
    return float((made - wanted).abs().max() / wanted.abs().max())
