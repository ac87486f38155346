"""Tiny UNets of every class, and runs of them."""

from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from support.toy import ToyPipeline
from support.zoo import drawn, noise, ones, randomised, tensors, time

SMALL = {"block_out_channels": (8, 16), "layers_per_block": 2, "norm_num_groups": 4, "cross_attention_dim": 8,
         "in_channels": 4, "out_channels": 4}  # fmt: skip


FRAMES = {"sample": noise(1, 4, 2, 8, 8), "timestep": time(), "encoder_hidden_states": noise(1, 5, 8)}


IMAGE = {**FRAMES, "sample": noise(1, 4, 8, 8)}


UNETS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "UNet2DCondition as SD 1.5": (
        diffusers.UNet2DConditionModel,
        {**SMALL, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
         "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 2},
        IMAGE,
    ),
    "UNet2DCondition as SDXL": (
        diffusers.UNet2DConditionModel,
        {**SMALL, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
         "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": (2, 4),
         "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
         "transformer_layers_per_block": (1, 2), "projection_class_embeddings_input_dim": 32},
        {**IMAGE, "added_cond_kwargs": {"text_embeds": noise(1, 8), "time_ids": ones(1, 6)}},
    ),
    "UNetMotionModel": (
        diffusers.UNetMotionModel,
        {**SMALL, "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
         "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"), "num_attention_heads": 2,
         "motion_num_attention_heads": 2, "motion_max_seq_length": 4},
        {**FRAMES, "encoder_hidden_states": noise(2, 5, 8)},
    ),
    "UNetSpatioTemporalConditionModel": (
        diffusers.UNetSpatioTemporalConditionModel,
        {"block_out_channels": (32, 64), "layers_per_block": 2, "cross_attention_dim": 8, "in_channels": 4,
         "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
         "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), "num_frames": 2,
         "num_attention_heads": 2, "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 12},
        {"sample": noise(1, 2, 4, 8, 8), "timestep": time(), "encoder_hidden_states": noise(1, 1, 8),
         "added_time_ids": ones(1, 3)},
    ),
    "UNet3DConditionModel": (
        diffusers.UNet3DConditionModel,
        {**SMALL, "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
         "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), "attention_head_dim": 4},
        FRAMES,
    ),
}  # fmt: skip


def made(name: str) -> nn.Module:
    cls, config, _ = UNETS[name]
    torch.manual_seed(0)
    return randomised(cls(**config))


def run(pipe: ToyPipeline, name: str, *branches: int, steps: int = 6) -> list[Tensor]:
    """What each call of all steps but the last returns."""
    given = [UNETS[name][2] | {"return_dict": False} for _ in range(steps - 1)]
    calls = [[drawn(one, torch.Generator().manual_seed(b)) for b in branches or (0,)] for one in given]
    return [next(tensors(output)) for output in pipe(calls, steps=steps)]
