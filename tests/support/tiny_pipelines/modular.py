"""Modular pipelines: a loop made of blocks, whose guidance is an object."""

import importlib
from typing import Any

import diffusers as d

from support.tiny import Tiny
from support.tiny_pipelines.image import QWEN_TEXT, SD3_TEXT
from support.tiny_pipelines.parts import flow, masks, noise, pair, transformer

SIZE = {"height": 32, "width": 32}
TEXT = pair("prompt_embeds", 1, 5, 8)
WAN = {"in_channels": 16, "out_channels": 16}


def modular(blocks: str, models: dict[str, Any], guider: Any = None, **kwargs: Any) -> Tiny:
    """A pipeline of the blocks between text encoder and decoder.

    Args:
        blocks: module and class, below ``diffusers.modular_pipelines``.
        models: its models; it gets a scheduler and, where it takes one, the guider.
        guider: by default the conditional and the unconditional branch.
        kwargs: the arguments of a run.
    """
    module, name = blocks.rsplit(".", 1)
    pipe = getattr(importlib.import_module(f"diffusers.modular_pipelines.{module}"), name)().init_pipeline()
    guiders = {"guider": guider or d.ClassifierFreeGuidance(4.0), "guider_2": d.ClassifierFreeGuidance(3.0)}
    wanted = {spec.name for spec in pipe._component_specs.values()}
    components = {"scheduler": flow(), **guiders, **models}
    pipe.update_components(**{name: part for name, part in components.items() if name in wanted})
    pipe.set_progress_bar_config(disable=True)
    return Tiny(pipe, {**SIZE, "num_inference_steps": 5, "output": "latents", **kwargs})


def wan(guider: Any = None) -> Tiny:
    models = {"transformer": transformer("WanTransformer3DModel", **WAN)}
    blocks = "wan.modular_blocks_wan.WanCoreDenoiseStep"
    return modular(blocks, models, guider, **pair("prompt_embeds", 1, 6, 8), num_frames=5)


def wan_two_experts() -> Tiny:
    models = {
        "transformer": transformer("WanTransformer3DModel", **WAN),
        "transformer_2": transformer("WanTransformer3DModel", **WAN, num_layers=2),
    }
    blocks = "wan.modular_blocks_wan22.Wan22CoreDenoiseStep"
    return modular(blocks, models, **pair("prompt_embeds", 1, 6, 8), num_frames=5)


def qwen(guider: Any = None) -> Tiny:
    models = {"transformer": transformer("QwenImageTransformer2DModel", in_channels=64, out_channels=16)}
    text = {name: value for name, value in QWEN_TEXT.items() if name != "true_cfg_scale"}
    return modular("qwenimage.modular_blocks_qwenimage.QwenImageCoreDenoiseStep", models, guider, **text)


def flux() -> Tiny:
    """No guider: guidance is an input of the model, or none at all."""
    models = {"transformer": transformer("FluxTransformer2DModel", in_channels=64)}
    text = {"prompt_embeds": noise(1, 5, 8), "pooled_prompt_embeds": noise(1, 8)}
    return modular("flux.modular_blocks_flux.FluxCoreDenoiseStep", models, **text)


def flux2_klein(guider: Any = None) -> Tiny:
    models = {"transformer": transformer("Flux2Transformer2DModel", in_channels=128)}
    blocks = "flux2.modular_blocks_flux2_klein_base.Flux2KleinBaseCoreDenoiseStep"
    return modular(blocks, models, guider, **TEXT)


def sd3(guider: Any = None) -> Tiny:
    models = {"transformer": transformer("SD3Transformer2DModel", patch_size=1, **WAN)}
    blocks = "stable_diffusion_3.modular_blocks_stable_diffusion_3.StableDiffusion3T2ICoreDenoiseStep"
    return modular(blocks, models, guider, **SD3_TEXT)


def z_image(guider: Any = None) -> Tiny:
    """The prompts are lists of tensors."""
    models = {"transformer": transformer("ZImageTransformer2DModel", in_channels=16)}
    text = {"prompt_embeds": [noise(5, 8)], "negative_prompt_embeds": [noise(5, 8, seed=1)]}
    return modular("z_image.modular_blocks_z_image.ZImageCoreDenoiseStep", models, guider, **text)


def ltx(guider: Any = None) -> Tiny:
    models = {"transformer": transformer("LTXVideoTransformer3DModel", in_channels=128, out_channels=128)}
    text = {**TEXT, **masks("prompt_attention_mask", 1, 5)}
    size = {"height": 64, "width": 64, "num_frames": 9}
    return modular("ltx.modular_blocks_ltx.LTXCoreDenoiseStep", models, guider, **text, **size)


def perturbed() -> Any:
    """A third branch whose second block attends to nothing, on all steps but the first."""
    layers = {"perturbed_guidance_layers": [1], "perturbed_guidance_start": 0.0}
    return d.PerturbedAttentionGuidance(4.0, **layers, perturbed_guidance_stop=1.0)


def smoothed() -> Any:
    """The same with blurred attention."""
    return d.SmoothedEnergyGuidance(
        4.0, seg_guidance_layers=[1], seg_guidance_start=0.0, seg_guidance_stop=1.0
    )


def without_layers() -> Any:
    """The same without the second block."""
    config = d.LayerSkipConfig(indices=[1], fqn="blocks")
    bounds = {"skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0}
    return d.SkipLayerGuidance(4.0, skip_layer_config=config, **bounds)


def by_a_worse_self() -> Any:
    """The unconditional branch lacks parts of the second block."""
    config = d.LayerSkipConfig(indices=[1], fqn="blocks", skip_attention=False, dropout=1.0)
    return d.AutoGuidance(4.0, auto_guidance_config=config)
