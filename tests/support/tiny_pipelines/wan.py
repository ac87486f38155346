"""Pipelines of the Wan family."""

import diffusers as d
import transformers as t

from support.tiny import Tiny
from support.tiny_pipelines.parts import flow, made, noise, pair, photo, transformer, wan_vae
from support.zoo import randomised

SIZE = {"height": 32, "width": 32, "num_frames": 5, "guidance_scale": 4.0}
TEXT = pair("prompt_embeds", 1, 6, 8)
WAN = "WanTransformer3DModel"


def text_to_video() -> Tiny:
    components = {"transformer": transformer(WAN), "vae": wan_vae(), "scheduler": flow()}
    return made(d.WanPipeline, components, **TEXT, **SIZE)


def two_experts() -> Tiny:
    """Wan 2.2: the first model makes the noisy steps, the second one the others."""
    components = {
        "transformer": transformer(WAN), "transformer_2": transformer(WAN, num_layers=2),
        "vae": wan_vae(), "scheduler": flow(), "boundary_ratio": 0.6,
    }  # fmt: skip
    return made(d.WanPipeline, components, **TEXT, **SIZE)


def image_to_video() -> Tiny:
    model = transformer(WAN, in_channels=12, image_dim=8, added_kv_proj_dim=24)
    config = t.CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=8,
        patch_size=4,
    )  # fmt: skip
    components = {
        "transformer": model, "vae": wan_vae(), "scheduler": flow(),
        "image_encoder": randomised(t.CLIPVisionModel(config)), "image_processor": t.CLIPImageProcessor(
            size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
        ),
    }  # fmt: skip
    return made(d.WanImageToVideoPipeline, components, image=photo(), **TEXT, **SIZE)


def vace() -> Tiny:
    """As in the released models, no hint is added after the last block."""
    model = transformer("WanVACETransformer3DModel", vace_in_channels=72, vace_layers=[0, 1])
    components = {"transformer": model, "vae": wan_vae(), "scheduler": flow()}
    return made(d.WanVACEPipeline, components, **TEXT, **SIZE)


def video_to_video() -> Tiny:
    """With strength 0.7 three of the five steps are executed."""
    components = {"transformer": transformer(WAN), "vae": wan_vae(), "scheduler": flow()}
    size = {name: value for name, value in SIZE.items() if name != "num_frames"}
    video = noise(1, 5, 3, 32, 32).sigmoid()
    return made(d.WanVideoToVideoPipeline, components, video=video, strength=0.7, **TEXT, **size)


def skyreels() -> Tiny:
    model = transformer("SkyReelsV2Transformer3DModel")
    components = {"transformer": model, "vae": wan_vae(), "scheduler": flow()}
    return made(d.SkyReelsV2Pipeline, components, **TEXT, **SIZE)
