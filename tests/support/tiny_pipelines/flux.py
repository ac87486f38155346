"""Pipelines of the FLUX family, and Chroma, which derives from it."""

from typing import Any

import diffusers as d
import torch

from support.tiny import Tiny
from support.tiny_pipelines.parts import (
    controlnet,
    flow,
    image_vae,
    made,
    masks,
    noise,
    pair,
    picture,
    transformer,
)
from support.zoo import FLUX

SIZE = {"height": 8, "width": 8}
TEXT = {**pair("prompt_embeds", 1, 5, 8), **pair("pooled_prompt_embeds", 1, 8)}
TRUE = {"true_cfg_scale": 3.0}


def _components(**config: Any) -> dict[str, Any]:
    model = transformer("FluxTransformer2DModel", **{"in_channels": 16, **config})
    return {"transformer": model, "vae": image_vae(), "scheduler": flow()}


def true_guidance() -> Tiny:
    return made(d.FluxPipeline, _components(), **TEXT, **SIZE, **TRUE)


def distilled() -> Tiny:
    """FLUX.1 dev: guidance is an input of the model, so there is one branch."""
    text = {name: value for name, value in TEXT.items() if not name.startswith("negative")}
    return made(d.FluxPipeline, _components(guidance_embeds=True), **text, **SIZE)


def image_to_image() -> Tiny:
    return made(d.FluxImg2ImgPipeline, _components(), image=picture(8), strength=0.8, **TEXT, **SIZE, **TRUE)


def inpaint() -> Tiny:
    images = {"image": picture(8), "mask_image": torch.ones(1, 1, 8, 8), "strength": 0.8}
    return made(d.FluxInpaintPipeline, _components(), **images, **TEXT, **SIZE, **TRUE)


def kontext() -> Tiny:
    size = {**SIZE, "max_area": 64, "_auto_resize": False}
    return made(d.FluxKontextPipeline, _components(), image=picture(8), **TEXT, **size, **TRUE)


def with_controlnet() -> Tiny:
    control = controlnet(
        d.FluxControlNetModel, **{**FLUX, "in_channels": 16, "pooled_projection_dim": 8},
    )  # fmt: skip
    components = {**_components(), "controlnet": control}
    return made(d.FluxControlNetPipeline, components, control_image=picture(8), **TEXT, **SIZE, **TRUE)


def flux2() -> Tiny:
    model = transformer("Flux2Transformer2DModel", in_channels=16, guidance_embeds=True)
    components = {"transformer": model, "scheduler": flow()}
    return made(d.Flux2Pipeline, components, prompt_embeds=noise(1, 5, 8), height=32, width=32)


def flux2_klein() -> Tiny:
    model = transformer("Flux2Transformer2DModel", in_channels=16, guidance_embeds=False)
    vae = d.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,), latent_channels=4, norm_num_groups=2,
    ).eval()  # fmt: skip
    components = {"transformer": model, "scheduler": flow(), "vae": vae}
    size = {"height": 8, "width": 8, "guidance_scale": 3.0}
    return made(d.Flux2KleinPipeline, components, **pair("prompt_embeds", 1, 5, 8), **size)


def chroma() -> Tiny:
    components = {"transformer": transformer("ChromaTransformer2DModel", in_channels=16), "scheduler": flow()}
    text = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_attention_mask", 1, 5)}
    return made(d.ChromaPipeline, components, **text, height=32, width=32, guidance_scale=3.0)
