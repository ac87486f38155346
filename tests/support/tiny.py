"""Tiny pipelines with random weights: real diffusers classes, seconds to run, nothing to download."""

from typing import Any

import diffusers as d
import torch

from skipstone.testing import ShortRun as Tiny


def _embeds(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights large enough that the timestep, the text and every block matter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 0.3 if parameter.ndim < 2 else 1.2 / parameter[0].numel() ** 0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return model.eval()


def wan() -> Tiny:
    transformer = d.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
        freq_dim=32, ffn_dim=32, num_layers=3, rope_max_seq_len=32,
    )  # fmt: skip
    vae = d.AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                             latents_mean=[0.0] * 4, latents_std=[1.0] * 4)  # fmt: skip
    pipe = d.WanPipeline(
        tokenizer=None, text_encoder=None, vae=vae, transformer=_randomise(transformer),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip
    prompts = {"prompt_embeds": _embeds(1, 6, 8), "negative_prompt_embeds": _embeds(1, 6, 8, seed=1)}
    size = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 8, "guidance_scale": 4.0}
    return _quiet(pipe, {**prompts, **size})


def flux() -> Tiny:
    transformer = d.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    vae = d.AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=2, shift_factor=0.0)
    pipe = d.FluxPipeline(
        scheduler=d.FlowMatchEulerDiscreteScheduler(), vae=vae, text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None, transformer=_randomise(transformer),
    )  # fmt: skip
    prompts = {
        "prompt_embeds": _embeds(1, 5, 8), "pooled_prompt_embeds": _embeds(1, 8),
        "negative_prompt_embeds": _embeds(1, 5, 8, seed=1),
        "negative_pooled_prompt_embeds": _embeds(1, 8, seed=1),
    }  # fmt: skip
    return _quiet(pipe, {**prompts, "height": 8, "width": 8, "num_inference_steps": 8, "true_cfg_scale": 3.0})


def cogvideox() -> Tiny:
    transformer = d.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=8,
        text_embed_dim=8, num_layers=3, sample_width=4, sample_height=4, sample_frames=5, patch_size=2,
        max_text_seq_length=6,
    )  # fmt: skip
    vae = d.AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
    )  # fmt: skip
    pipe = d.CogVideoXPipeline(
        tokenizer=None, text_encoder=None, vae=vae, transformer=_randomise(transformer),
        scheduler=d.CogVideoXDDIMScheduler(),
    )  # fmt: skip
    prompts = {"prompt_embeds": _embeds(1, 6, 8), "negative_prompt_embeds": _embeds(1, 6, 8, seed=1)}
    size = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 8, "guidance_scale": 4.0}
    return _quiet(pipe, {**prompts, **size})


def sd3() -> Tiny:
    transformer = d.SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, caption_projection_dim=16, pooled_projection_dim=8, out_channels=4,
    )  # fmt: skip
    vae = d.AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=2, shift_factor=0.0)
    pipe = d.StableDiffusion3Pipeline(
        transformer=_randomise(transformer), scheduler=d.FlowMatchEulerDiscreteScheduler(), vae=vae,
        text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, text_encoder_3=None,
        tokenizer_3=None,
    )  # fmt: skip
    prompts = {
        "prompt_embeds": _embeds(1, 5, 8), "pooled_prompt_embeds": _embeds(1, 8),
        "negative_prompt_embeds": _embeds(1, 5, 8, seed=1),
        "negative_pooled_prompt_embeds": _embeds(1, 8, seed=1),
    }  # fmt: skip
    return _quiet(pipe, {**prompts, "height": 8, "width": 8, "num_inference_steps": 8, "guidance_scale": 4.0})


def _quiet(pipe: Any, kwargs: dict[str, Any]) -> Tiny:
    pipe.set_progress_bar_config(disable=True)
    return Tiny(pipe, kwargs)


PIPELINES = {"wan": wan, "flux": flux, "cogvideox": cogvideox, "sd3": sd3}
