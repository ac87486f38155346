"""Pipelines that make videos with other transformers."""

import diffusers as d
import torch

from support.tiny import Tiny, cogvideox
from support.tiny_pipelines.parts import Unchecked, flow, made, masks, noise, pair, picture, transformer

SIZE = {"height": 32, "width": 32, "num_frames": 5, "guidance_scale": 4.0}
MASKED_TEXT = {**pair("prompt_embeds", 1, 5, 8), **masks("prompt_attention_mask", 1, 5)}


def cog_video_x_image_to_video() -> Tiny:
    plain = cogvideox()
    model = transformer("CogVideoXTransformer3DModel", in_channels=8, out_channels=4)
    components = {**plain.pipe.components, "transformer": model}
    return made(
        d.CogVideoXImageToVideoPipeline,
        components,
        **{**plain.kwargs, "image": picture(), "num_inference_steps": 5},
    )


def ltx() -> Tiny:
    components = {"transformer": transformer("LTXVideoTransformer3DModel"), "scheduler": flow()}
    return made(
        d.LTXPipeline, components, **MASKED_TEXT, **{**SIZE, "height": 64, "width": 64, "num_frames": 9}
    )


def hunyuan_video() -> Tiny:
    """Guidance is an input of the model."""
    model = transformer("HunyuanVideoTransformer3DModel", guidance_embeds=True)
    components = {"transformer": model, "scheduler": flow()}
    text = {"prompt_embeds": noise(1, 5, 8), "pooled_prompt_embeds": noise(1, 8),
            "prompt_attention_mask": torch.ones(1, 5)}  # fmt: skip
    return made(d.HunyuanVideoPipeline, components, **text, **SIZE)


def mochi() -> Tiny:
    components = {"transformer": transformer("MochiTransformer3DModel"), "scheduler": flow()}
    text = {**pair("prompt_embeds", 1, 5, 8),
            "prompt_attention_mask": torch.ones(1, 5, dtype=torch.bool),
            "negative_prompt_attention_mask": torch.ones(1, 5, dtype=torch.bool)}  # fmt: skip
    return made(d.MochiPipeline, components, **text, **{**SIZE, "num_frames": 7})


def allegro() -> Tiny:
    components = {"transformer": transformer("AllegroTransformer3DModel"), "scheduler": d.DDIMScheduler()}
    return made(
        d.AllegroPipeline, components, **MASKED_TEXT, **{**SIZE, "num_frames": 8}, negative_prompt=None
    )


def latte() -> Tiny:
    components = {
        "transformer": transformer("LatteTransformer3DModel", sample_size=4, out_channels=8),
        "scheduler": d.DDIMScheduler(),
    }
    size = {"height": 32, "width": 32, "video_length": 2, "guidance_scale": 4.0}
    return made(d.LattePipeline, components, **pair("prompt_embeds", 1, 5, 8), **size, negative_prompt=None)


def kandinsky5() -> Tiny:
    components = {"transformer": transformer("Kandinsky5Transformer3DModel", num_visual_blocks=3),
                  "scheduler": flow()}  # fmt: skip
    text = {**pair("prompt_embeds_qwen", 1, 5, 8), **pair("prompt_embeds_clip", 1, 8)}
    lengths = torch.tensor([0, 5], dtype=torch.int32)
    return made(d.Kandinsky5T2VPipeline, components, **text, **SIZE,
                prompt_cu_seqlens=lengths, negative_prompt_cu_seqlens=lengths)  # fmt: skip


def cosmos() -> Tiny:
    components = {"transformer": transformer("CosmosTransformer3DModel"),
                  "scheduler": d.EDMEulerScheduler(), "safety_checker": Unchecked()}  # fmt: skip
    return made(d.CosmosTextToWorldPipeline, components, **pair("prompt_embeds", 1, 5, 8),
                **{**SIZE, "num_frames": 9})  # fmt: skip
