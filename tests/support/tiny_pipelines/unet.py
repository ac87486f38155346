"""Pipelines whose model is a UNet."""

from types import SimpleNamespace
from typing import Any

import diffusers as d
import torch
from torch import Tensor, nn

from support.tiny import Tiny
from support.tiny_pipelines.parts import image_vae, made, pair, perturbed, picture
from support.zoo import randomised

SIZE = {"height": 8, "width": 8}
UNET = {
    "block_out_channels": (8, 16), "layers_per_block": 2, "norm_num_groups": 4, "cross_attention_dim": 8,
    "in_channels": 4, "out_channels": 4, "sample_size": 8,
}  # fmt: skip
CROSS_ATTENTION = {
    **UNET, "attention_head_dim": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
SDXL = {
    "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 * 4 + 8,
}  # fmt: skip


def stable_diffusion() -> Tiny:
    components = {"unet": unet(d.UNet2DConditionModel, **CROSS_ATTENTION), "scheduler": ddim(),
                  "vae": image_vae()}  # fmt: skip
    return made(d.StableDiffusionPipeline, components, **pair("prompt_embeds", 1, 5, 8), **SIZE)


def stable_diffusion_perturbed() -> Tiny:
    return perturbed(stable_diffusion(), d.StableDiffusionPAGPipeline, "mid")


def stable_diffusion_xl() -> Tiny:
    components = {"unet": unet(d.UNet2DConditionModel, **CROSS_ATTENTION, **SDXL), "vae": image_vae(),
                  "scheduler": d.EulerDiscreteScheduler()}  # fmt: skip
    text = {**pair("prompt_embeds", 1, 5, 8), **pair("pooled_prompt_embeds", 1, 8)}
    return made(d.StableDiffusionXLPipeline, components, **text, **SIZE)


def animate_diff() -> Tiny:
    motion = {"motion_num_attention_heads": 2, "motion_max_seq_length": 4}
    model = unet(d.UNetMotionModel, **UNET, **motion, num_attention_heads=2,
                 down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
                 up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"))  # fmt: skip
    components = {"unet": model, "scheduler": ddim(), "vae": image_vae()}
    return made(d.AnimateDiffPipeline, components, **pair("prompt_embeds", 1, 5, 8), **SIZE, num_frames=2)


class Pixels:
    """Stands in for CLIP's image processor, which would only normalise the picture."""

    def __call__(self, images: Tensor, **settings: Any) -> SimpleNamespace:
        return SimpleNamespace(pixel_values=images)


class ImageEncoder(nn.Module):
    """Stands in for CLIP, whose smallest input is a picture of 224 pixels."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(image_embeds=pixels.flatten(1)[:, :8] * self.weight)


def stable_video_diffusion() -> Tiny:
    model = unet(d.UNetSpatioTemporalConditionModel, block_out_channels=(32, 64), layers_per_block=2,
                 in_channels=8, out_channels=4, cross_attention_dim=8, sample_size=8, num_frames=2,
                 num_attention_heads=(2, 4), addition_time_embed_dim=4,
                 projection_class_embeddings_input_dim=12,
                 down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                 up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"))  # fmt: skip
    vae = d.AutoencoderKLTemporalDecoder(
        block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",), latent_channels=4
    ).eval()
    components = {"unet": model, "vae": vae, "image_encoder": ImageEncoder(),
                  "feature_extractor": Pixels(),
                  "scheduler": d.EulerDiscreteScheduler(prediction_type="v_prediction")}  # fmt: skip
    return made(d.StableVideoDiffusionPipeline, components, image=picture(8), **SIZE, num_frames=2)


def ddim() -> Any:
    return d.DDIMScheduler(steps_offset=1, clip_sample=False)


def unet(cls: type[Any], **config: Any) -> nn.Module:
    return randomised(cls(**config))
