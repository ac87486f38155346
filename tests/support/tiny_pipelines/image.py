"""Pipelines that make images with other transformers."""

from types import SimpleNamespace

import diffusers as d
import torch
from torch import Tensor, nn

from support.tiny import Tiny
from support.tiny_pipelines.parts import (
    Unchecked,
    controlnet,
    flow,
    image_vae,
    made,
    masks,
    noise,
    pair,
    perturbed,
    photo,
    picture,
    transformer,
    wan_vae,
)
from support.zoo import CLASSIC, QWEN

SIZE = {"height": 32, "width": 32}
GUIDED = {**SIZE, "guidance_scale": 4.0}
SD3 = {
    **CLASSIC, "patch_size": 1, "out_channels": 4, "joint_attention_dim": 8, "caption_projection_dim": 16,
    "pooled_projection_dim": 8,
}  # fmt: skip
SD3_TEXT = {**pair("prompt_embeds", 1, 5, 8), **pair("pooled_prompt_embeds", 1, 8)}
QWEN_TEXT = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_embeds_mask", 1, 5), "true_cfg_scale": 4.0}
MASKED_TEXT = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_attention_mask", 1, 5)}


def sd3() -> Tiny:
    components = {"transformer": transformer("SD3Transformer2DModel", patch_size=1), "scheduler": flow()}
    return made(d.StableDiffusion3Pipeline, components, **SD3_TEXT, **GUIDED)


def sd3_skip_layer() -> Tiny:
    """A second evaluation of the conditional branch without some of its layers, on a part of the steps."""
    layers = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 0.7}
    plain = sd3()
    return Tiny(plain.pipe, {**plain.kwargs, **layers})


def sd3_perturbed() -> Tiny:
    """Perturbed attention guidance: three branches in one batch."""
    return perturbed(sd3(), d.StableDiffusion3PAGPipeline, "transformer_blocks.1")


def sd3_controlnet() -> Tiny:
    control = controlnet(d.SD3ControlNetModel, **{**SD3, "num_layers": 2, "pos_embed_max_size": 8})
    model = transformer("SD3Transformer2DModel", patch_size=1)
    components = {"transformer": model, "scheduler": flow(), "vae": image_vae(), "controlnet": control}
    size = {"height": 8, "width": 8, "guidance_scale": 4.0}
    return made(
        d.StableDiffusion3ControlNetPipeline, components, control_image=picture(8), **SD3_TEXT, **size
    )


def qwen() -> Tiny:
    components = {
        "transformer": transformer("QwenImageTransformer2DModel", in_channels=16),
        "scheduler": flow(),
    }
    return made(d.QwenImagePipeline, components, **QWEN_TEXT, **SIZE)


class PoolingVae(nn.Module):
    """Makes latents 256 times smaller, as the pipeline makes a megapixel of any image."""

    temperal_downsample = (True,) * 8
    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(z_dim=4, latents_mean=[0.0] * 4, latents_std=[1.0] * 4)

    def encode(self, image: Tensor) -> SimpleNamespace:
        pooled = torch.nn.functional.avg_pool3d(image, (1, 256, 256))
        return SimpleNamespace(latents=torch.cat([pooled, pooled[:, :1]], dim=1))


def qwen_edit() -> Tiny:
    model = transformer("QwenImageTransformer2DModel", in_channels=16)
    components = {"transformer": model, "scheduler": flow(), "vae": PoolingVae()}
    size = {"height": 1024, "width": 1024}
    return made(d.QwenImageEditPipeline, components, image=photo(), **QWEN_TEXT, **size)


def qwen_controlnet() -> Tiny:
    control = controlnet(
        d.QwenImageControlNetModel, **{**QWEN, "in_channels": 16, "extra_condition_channels": 0}
    )
    model = transformer("QwenImageTransformer2DModel", in_channels=16)
    vae = wan_vae(d.AutoencoderKLQwenImage)
    components = {"transformer": model, "scheduler": flow(), "vae": vae, "controlnet": control}
    return made(d.QwenImageControlNetPipeline, components, control_image=picture(), **QWEN_TEXT, **SIZE)


def z_image() -> Tiny:
    components = {"transformer": transformer("ZImageTransformer2DModel"), "scheduler": flow()}
    text = {"prompt_embeds": [noise(5, 8)], "negative_prompt_embeds": [noise(5, 8, seed=1)]}
    return made(d.ZImagePipeline, components, **text, **GUIDED)


def sana() -> Tiny:
    components = {"transformer": transformer("SanaTransformer2DModel"), "scheduler": flow()}
    size = {"height": 128, "width": 128, "use_resolution_binning": False}
    return made(d.SanaPipeline, components, **MASKED_TEXT, **size, guidance_scale=4.0, negative_prompt=None)


def sana_perturbed() -> Tiny:
    return perturbed(sana(), d.SanaPAGPipeline, "blocks.1")


def pixart() -> Tiny:
    components = {"transformer": transformer("PixArtTransformer2DModel"), "scheduler": d.DDIMScheduler()}
    return made(d.PixArtSigmaPipeline, components, **MASKED_TEXT, **GUIDED, use_resolution_binning=False,
                negative_prompt=None)  # fmt: skip


def pixart_perturbed() -> Tiny:
    return perturbed(pixart(), d.PixArtSigmaPAGPipeline, "blocks.1")


def lumina2() -> Tiny:
    components = {"transformer": transformer("Lumina2Transformer2DModel"), "scheduler": flow()}
    text = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_attention_mask", 1, 5)}
    return made(d.Lumina2Pipeline, components, **text, **GUIDED)


def hidream() -> Tiny:
    components = {
        "transformer": transformer("HiDreamImageTransformer2DModel", max_resolution=(16, 16)),
        "scheduler": flow(),
    }  # fmt: skip
    text = {**pair("prompt_embeds_t5", 1, 5, 8), **pair("prompt_embeds_llama3", 2, 1, 5, 4),
            **pair("pooled_prompt_embeds", 1, 8)}  # fmt: skip
    tiny = made(d.HiDreamImagePipeline, components, **text, **GUIDED)
    tiny.pipe.default_sample_size = 4  # It scales every image to a megapixel otherwise.
    return tiny


def aura_flow() -> Tiny:
    components = {"transformer": transformer("AuraFlowTransformer2DModel"), "scheduler": flow()}
    return made(d.AuraFlowPipeline, components, **MASKED_TEXT, **GUIDED)


def cog_view4() -> Tiny:
    components = {"transformer": transformer("CogView4Transformer2DModel"), "scheduler": flow()}
    return made(d.CogView4Pipeline, components, **pair("prompt_embeds", 1, 16, 8), **GUIDED)


def dit() -> Tiny:
    model = transformer("DiTTransformer2DModel", num_embeds_ada_norm=1000, out_channels=8)
    components = {"transformer": model, "scheduler": d.DDIMScheduler(), "vae": image_vae()}
    return made(d.DiTPipeline, components, class_labels=[3], guidance_scale=4.0)


def cosmos_text_to_image() -> Tiny:
    scheduler = d.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    components = {"transformer": transformer("CosmosTransformer3DModel"), "scheduler": scheduler,
                  "safety_checker": Unchecked()}  # fmt: skip
    return made(d.Cosmos2TextToImagePipeline, components, **pair("prompt_embeds", 1, 5, 8), **GUIDED)
