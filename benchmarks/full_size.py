"""Transformers of full size with random weights, made from their configurations, and inputs for them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FullSize:
    """One model and one size of what it makes.

    Args:
        makes: what it makes, for people.
        kind: its class in diffusers.
        config: its configuration where that is not the class's default.
        latents: the shape that it denoises.
        constants: its other inputs but the timestep, made by a function that draws a tensor.
        scale: its timestep for a noise level of 1.
        tiny: what is changed to try a program out.
        tiny_latents: the same of the latents.
    """

    makes: str
    kind: str
    config: dict[str, Any]
    latents: tuple[int, ...]
    constants: Callable[[Callable[..., Tensor], "FullSize"], dict[str, Any]]
    scale: float
    tiny: dict[str, Any]
    tiny_latents: tuple[int, ...]

    def made(self, device: str) -> nn.Module:
        """The model, in bfloat16."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(device):
                model: nn.Module = getattr(diffusers, self.kind)(**self.config)
        finally:
            torch.set_default_dtype(before)
        return model.eval().requires_grad_(False)

    def shrunk(self) -> "FullSize":
        """The same, tiny, to try a program out."""
        return replace(self, config={**self.config, **self.tiny}, latents=self.tiny_latents)

    def setting(self, name: str) -> Any:
        """A value of the configuration."""
        return self.config[name]


def flux_inputs(draw: Callable[..., Tensor], model: FullSize) -> dict[str, Any]:
    side = int(model.latents[1] ** 0.5)
    grid = torch.cartesian_prod(torch.arange(1), torch.arange(side), torch.arange(side))
    text = draw(1, 512, model.setting("joint_attention_dim"))
    return {
        "encoder_hidden_states": text,
        "pooled_projections": draw(1, model.setting("pooled_projection_dim")),
        "guidance": torch.full((1,), 3.5, device=text.device),
        "img_ids": grid.to(text),
        "txt_ids": torch.zeros(512, 3).to(text),
    }


def wan_inputs(draw: Callable[..., Tensor], model: FullSize) -> dict[str, Any]:
    return {"encoder_hidden_states": draw(1, 512, model.setting("text_dim"))}


def hunyuan_inputs(draw: Callable[..., Tensor], model: FullSize) -> dict[str, Any]:
    text = draw(1, 256, model.setting("text_embed_dim"))
    return {
        "encoder_hidden_states": text,
        "encoder_attention_mask": torch.ones(1, 256, device=text.device, dtype=torch.bool),
        "pooled_projections": draw(1, model.setting("pooled_projection_dim")),
        "guidance": torch.full((1,), 6000.0, device=text.device),
    }


def cogvideox_inputs(draw: Callable[..., Tensor], model: FullSize) -> dict[str, Any]:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    text = draw(1, model.setting("max_text_seq_length"), model.setting("text_embed_dim"))
    frames, height, width = model.latents[1], model.latents[3] // 2, model.latents[4] // 2
    positions = get_3d_rotary_pos_embed(
        model.setting("attention_head_dim"), ((0, 0), (height, width)), (height, width), frames,
        device=text.device,
    )  # fmt: skip
    return {"encoder_hidden_states": text, "image_rotary_emb": positions}


def qwen_inputs(draw: Callable[..., Tensor], model: FullSize) -> dict[str, Any]:
    side = int(model.latents[1] ** 0.5)
    return {
        "encoder_hidden_states": draw(1, 256, model.setting("joint_attention_dim")),
        "img_shapes": [[(1, side, side)]],
    }


MODELS = {
    "flux": FullSize(
        "FLUX.1-dev, 1024 x 1024", "FluxTransformer2DModel",
        {"guidance_embeds": True, "joint_attention_dim": 4096, "pooled_projection_dim": 768},
        (1, 4096, 64), flux_inputs, 1.0,
        {"num_layers": 2, "num_single_layers": 2, "num_attention_heads": 4, "attention_head_dim": 16,
         "axes_dims_rope": (4, 6, 6), "joint_attention_dim": 8, "pooled_projection_dim": 8, "in_channels": 8},
        (1, 16, 8),
    ),
    "wan-1.3b": FullSize(
        "Wan 2.1 1.3B, 832 x 480, 81 frames", "WanTransformer3DModel",
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096},
        (1, 16, 21, 60, 104), wan_inputs, 1000.0,
        {"num_attention_heads": 4, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 3, "text_dim": 8},
        (1, 16, 2, 4, 4),
    ),
    "wan-14b": FullSize(
        "Wan 2.1 14B, 832 x 480, 81 frames", "WanTransformer3DModel", {"text_dim": 4096},
        (1, 16, 21, 60, 104), wan_inputs, 1000.0,
        {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 3, "text_dim": 8},
        (1, 16, 2, 4, 4),
    ),
    "hunyuan-video": FullSize(
        "HunyuanVideo, 960 x 544, 61 frames", "HunyuanVideoTransformer3DModel",
        {"text_embed_dim": 4096, "pooled_projection_dim": 768},
        (1, 16, 16, 68, 120), hunyuan_inputs, 1000.0,
        {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "num_single_layers": 2,
         "num_refiner_layers": 1, "rope_axes_dim": (4, 6, 6), "text_embed_dim": 8,
         "pooled_projection_dim": 8},
        (1, 16, 2, 4, 4),
    ),
    "cogvideox-5b": FullSize(
        "CogVideoX 5B, 720 x 480, 49 frames", "CogVideoXTransformer3DModel",
        {"num_attention_heads": 48, "num_layers": 42, "attention_head_dim": 64, "text_embed_dim": 4096,
         "max_text_seq_length": 226, "use_rotary_positional_embeddings": True},
        (1, 13, 16, 60, 90), cogvideox_inputs, 1000.0,
        {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 3, "text_embed_dim": 8,
         "max_text_seq_length": 6},
        (1, 2, 16, 4, 4),
    ),
    "qwen-image": FullSize(
        "Qwen-Image, 1024 x 1024", "QwenImageTransformer2DModel", {"joint_attention_dim": 3584},
        (1, 4096, 64), qwen_inputs, 1.0,
        {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "axes_dims_rope": (4, 6, 6),
         "joint_attention_dim": 8, "in_channels": 8, "out_channels": 2},
        (1, 16, 8),
    ),
    "pebble-video": FullSize(
        "the bundled video model's size, 64 x 64, 16 frames", "WanTransformer3DModel",
        {"num_attention_heads": 6, "attention_head_dim": 64, "ffn_dim": 640, "num_layers": 8, "text_dim": 256,
         "patch_size": (1, 4, 4)},
        (1, 16, 8, 32, 32), wan_inputs, 1000.0,
        {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 3, "text_dim": 8,
         "patch_size": (1, 2, 2)},
        (1, 16, 2, 4, 4),
    ),
}  # fmt: skip
"""What can be measured, by name."""

SHORT = {
    "wan-1.3b": replace(
        MODELS["wan-1.3b"], makes="Wan 2.1 1.3B, 832 x 480, 33 frames", latents=(1, 16, 9, 60, 104)
    )
}
"""Shorter videos, for what runs many times."""
