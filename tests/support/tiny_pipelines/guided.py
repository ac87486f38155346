"""Pipelines whose guidance has more than two branches, or is an object of its own."""

from types import SimpleNamespace
from typing import Any

import diffusers as d
import torch
from torch import nn

from support.tiny import Tiny
from support.tiny_pipelines.parts import flow, made, masks, pair, transformer
from support.zoo import randomised

MASKED_TEXT = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_attention_mask", 1, 5)}


class LatentScale(nn.Module):
    """Stands in for an autoencoder of which only the sizes and the scale of its latents are read."""

    device, dtype = torch.device("cpu"), torch.float32
    spatial_compression_ratio, temporal_compression_ratio, mel_compression_ratio = 16, 4, 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.latents_mean, self.latents_std = torch.zeros(channels), torch.ones(channels)
        self.config = SimpleNamespace(
            latent_channels=min(channels, 8),
            scaling_factor=1.0,
            mel_bins=64,
            sample_rate=16000,
            mel_hop_length=160,
        )


def ltx2() -> Tiny:
    """Guidance in a batch, then an evaluation with perturbed blocks, and one with the modalities apart."""
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    connectors = LTX2TextConnectors(
        caption_channels=8, text_proj_in_factor=1, video_connector_num_attention_heads=1,
        video_connector_attention_head_dim=8, video_connector_num_layers=1,
        video_connector_num_learnable_registers=None, audio_connector_num_attention_heads=1,
        audio_connector_attention_head_dim=8, audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None, rope_double_precision=False,
    )  # fmt: skip
    model = transformer("LTX2VideoTransformer3DModel", audio_in_channels=128, audio_out_channels=128)
    components = {
        "transformer": model,
        "connectors": randomised(connectors),
        "scheduler": flow(),
        "vae": LatentScale(4),
        "audio_vae": LatentScale(128),
    }
    size = {"height": 64, "width": 64, "num_frames": 9, "spatio_temporal_guidance_blocks": [1]}
    return made(d.LTX2Pipeline, components, **MASKED_TEXT, **size)


def hunyuan_video_15(guider: Any = None) -> Tiny:
    """The guider makes the branches: by default, the conditional and the unconditional one."""
    model = transformer("HunyuanVideo15Transformer3DModel", in_channels=9)
    components = {
        "transformer": model, "scheduler": flow(), "vae": LatentScale(4),
        "guider": guider or d.ClassifierFreeGuidance(4.0),
    }  # fmt: skip
    text = {
        **pair("prompt_embeds", 1, 5, 8), **masks("prompt_embeds_mask", 1, 5),
        **pair("prompt_embeds_2", 1, 4, 4), **masks("prompt_embeds_mask_2", 1, 4),
    }  # fmt: skip
    return made(d.HunyuanVideo15Pipeline, components, **text, height=32, width=32, num_frames=5)
