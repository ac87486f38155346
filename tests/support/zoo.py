"""A tiny model with random weights for each transformer class of diffusers, and the inputs of a call."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.models import transformers
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


@dataclass(frozen=True)
class Noise:
    """Stands for a random tensor of this shape, another one for each branch."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """Stands for an object of a class in one of diffusers' transformer modules, made with one number."""

    module: str
    name: str
    number: int

    def make(self) -> Any:
        module = importlib.import_module(f"{transformers.__name__}.{self.module}")
        return getattr(module, self.name)(self.number)


@dataclass(frozen=True)
class Species:
    """How to make a tiny model of one class, and what to call it with.

    Args:
        name: the class, which may stand for several species.
        config: the arguments of its constructor.
        inputs: the keyword arguments of a call; `Noise` among them is drawn anew for each branch.
    """

    name: str
    config: dict[str, Any]
    inputs: dict[str, Any]

    def model(self) -> nn.Module:
        """A model whose weights are large enough that the timestep, the text and every block matter."""
        return randomised(classes()[self.name](**self.config))

    def call(self, branch: int = 0) -> dict[str, Any]:
        """The keyword arguments of a call."""
        inputs: dict[str, Any] = drawn(self.inputs, torch.Generator().manual_seed(branch))
        return inputs


def classes() -> dict[str, type[nn.Module]]:
    """Every model class that is defined under ``diffusers.models.transformers``, by name."""
    modules = [
        importlib.import_module(f"{transformers.__name__}.{module.name}")
        for module in pkgutil.iter_modules(transformers.__path__)
    ]
    members = [(member, module) for module in modules for member in vars(module).values()]
    return {
        member.__name__: member
        for member, module in members
        if isinstance(member, type)
        and issubclass(member, ModelMixin)
        and member.__module__ == module.__name__
    }


def randomised(model: nn.Module) -> nn.Module:
    """Give a model weights that make a call depend on everything."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        scale = 0.3 if parameter.ndim < 2 else 1.2 / parameter[0].numel() ** 0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    return model.eval()


def drawn(value: Any, generator: torch.Generator) -> Any:
    """The value with random tensors in place of the `Noise` in it, and copies of all else."""
    match value:
        case Noise():
            return torch.randn(value.shape, generator=generator)
        case Made():
            return value.make()
        case Tensor():
            return value.clone()
        case dict():
            return {key: drawn(item, generator) for key, item in value.items()}
        case list() | tuple():
            return type(value)(drawn(item, generator) for item in value)
    return value


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in whatever a model returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from tensors(item)


CLASSES = classes()

ZOO: dict[str, Species] = {}


CONTROLLED: dict[str, Species] = {}
"""The species that take the terms of a control network, with such terms."""


def add(name: str, config: dict[str, Any], variant: str = "", dicts: bool = True, **inputs: Any) -> None:
    """Add a species if this diffusers has its class; ``dicts`` where a call takes ``return_dict``."""
    given = {**inputs, "return_dict": False} if dicts else inputs
    if name in CLASSES:
        ZOO[name + variant] = Species(name, config, given)


def add_controlled(name: str, **inputs: Any) -> None:
    """Add a species of the zoo with more inputs, if this diffusers has them."""
    if name not in ZOO or not takes(name, *inputs):
        return
    CONTROLLED[name] = replace(ZOO[name], inputs={**ZOO[name].inputs, **inputs})


def takes(name: str, *inputs: str) -> bool:
    """Whether a call of a class has these inputs."""
    return set(inputs) <= set(inspect.signature(CLASSES[name].forward).parameters)


def noise(*shape: int) -> Noise:
    return Noise(shape)


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


def truth(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def time(value: float = 500.0, *shape: int) -> Tensor:
    return torch.full(shape or (1,), value)


def positions(tokens: int, axes: int = 3) -> Tensor:
    """A different position for each token on every axis."""
    return torch.arange(tokens)[:, None].repeat(1, axes) // torch.tensor([1, 2, 3, 4][:axes])


def rotary(tokens: int, dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines for each token."""
    angles = torch.arange(tokens)[:, None] * torch.linspace(1, 0.1, dim)
    return angles.cos(), angles.sin()


# fmt: off
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
WAN = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8,
    "freq_dim": 32, "ffn_dim": 32, "num_layers": 3, "rope_max_seq_len": 32,
}
IMAGE = {"hidden_states": noise(1, 4, 8, 8), "encoder_hidden_states": noise(1, 5, 8), "timestep": time()}
VIDEO = {"hidden_states": noise(1, 4, 2, 4, 4), "encoder_hidden_states": noise(1, 5, 8), "timestep": time()}
FRAMES = {"hidden_states": noise(1, 2, 4, 4, 4), "encoder_hidden_states": noise(1, 6, 8), "timestep": time()}
PACKED = {
    "hidden_states": noise(1, 16, 4), "encoder_hidden_states": noise(1, 5, 8), "timestep": time(0.5),
    "img_ids": positions(16), "txt_ids": positions(5),
}
FLUX = {
    "patch_size": 1, "in_channels": 4, "num_layers": 2, "num_single_layers": 2, **HEADS,
    "joint_attention_dim": 8, "axes_dims_rope": (2, 2, 4),
}
CLASSIC = {**HEADS, "in_channels": 4, "num_layers": 3, "sample_size": 8, "patch_size": 2}
MASK = {"encoder_attention_mask": ones(1, 5)}

add("AceStepTransformer1DModel",
    {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
     "num_key_value_heads": 1, "head_dim": 8, "in_channels": 12, "audio_acoustic_hidden_dim": 4,
     "sliding_window": 4},
    hidden_states=noise(1, 8, 4), encoder_hidden_states=noise(1, 5, 16), context_latents=noise(1, 8, 8),
    timestep=time(0.5), timestep_r=time(0.25))
add("AllegroTransformer3DModel",
    {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 3, "cross_attention_dim": 24,
     "caption_channels": 8, "sample_height": 4, "sample_width": 4, "sample_frames": 2},
    **VIDEO, **MASK, attention_mask=ones(1, 2, 4, 4), image_rotary_emb=None)
add("AnyFlowTransformer3DModel", WAN,
    **{**FRAMES, "timestep": time(500.0, 1, 2)}, r_timestep=time(250.0, 1, 2))
add("AnyFlowFARTransformer3DModel", {**WAN, "full_chunk_limit": 3},
    hidden_states=noise(1, 4, 4, 8, 8), encoder_hidden_states=noise(1, 5, 8), timestep=time(500.0, 1, 4),
    r_timestep=time(250.0, 1, 4), chunk_partition=[2, 2])
add("AuraFlowTransformer2DModel",
    {**HEADS, "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_mmdit_layers": 2,
     "num_single_dit_layers": 2, "joint_attention_dim": 8, "caption_projection_dim": 16,
     "pos_embed_max_size": 16},
    **{**IMAGE, "timestep": time(0.5)})
add("BriaTransformer2DModel", {**FLUX, "axes_dims_rope": (0, 4, 4)}, **PACKED)
add("BriaFiboTransformer2DModel",
    {**FLUX, "axes_dims_rope": (0, 4, 4), "joint_attention_dim": 16, "text_encoder_dim": 8},
    **{**PACKED, "encoder_hidden_states": noise(1, 5, 16)}, text_encoder_layers=[noise(1, 5, 8)] * 4)
add("BriaFibo2Transformer2DModel",
    {"in_channels": 4, "patch_size": 2, "dim": 32, "n_layers": 3, "n_refiner_layers": 1, "n_heads": 2,
     "cap_feat_dim": 8, "injection_layer_ids": (1,), "perceiver_num_layers": 1, "min_num_gist_tokens": 4,
     "max_num_gist_tokens": 8, "gist_step": 4, "gist_min_text_len": 4, "gist_max_text_len": 16,
     "axes_dims": (4, 6, 6), "axes_lens": (16, 16, 16)},
    **{**IMAGE, "encoder_hidden_states": noise(1, 2, 6, 8), "timestep": time(0.5)})
add("ChromaTransformer2DModel",
    {**FLUX, "approximator_num_channels": 8, "approximator_hidden_dim": 16, "approximator_layers": 1},
    **PACKED)
add("ChronoEditTransformer3DModel", WAN, **VIDEO)
add("CogVideoXTransformer3DModel",
    {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4,
     "time_embed_dim": 8, "text_embed_dim": 8, "num_layers": 3, "sample_width": 4, "sample_height": 4,
     "sample_frames": 5, "max_text_seq_length": 6},
    **FRAMES)
add("CogView3PlusTransformer2DModel",
    {**HEADS, "in_channels": 4, "out_channels": 4, "num_layers": 3, "text_embed_dim": 8, "time_embed_dim": 8,
     "condition_dim": 4, "pos_embed_max_size": 8, "sample_size": 8},
    **IMAGE, original_size=ones(1, 2), target_size=ones(1, 2), crop_coords=ones(1, 2))
add("CogView4Transformer2DModel",
    {**HEADS, "in_channels": 4, "out_channels": 4, "num_layers": 3, "text_embed_dim": 8, "time_embed_dim": 8,
     "condition_dim": 4, "pos_embed_max_size": 8, "sample_size": 8, "rope_axes_dim": (8, 8)},
    **IMAGE, original_size=ones(1, 2), target_size=ones(1, 2), crop_coords=ones(1, 2))
add("ConsisIDTransformer3DModel",
    {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4,
     "time_embed_dim": 8, "text_embed_dim": 8, "num_layers": 4, "sample_width": 4, "sample_height": 4,
     "sample_frames": 5, "max_text_seq_length": 6, "is_train_face": True, "cross_attn_interval": 2,
     "cross_attn_dim_head": 8, "cross_attn_num_heads": 2, "LFE_id_dim": 4, "LFE_vit_dim": 4, "LFE_depth": 5,
     "LFE_dim_head": 8, "LFE_num_heads": 2, "LFE_num_id_token": 1, "LFE_num_querie": 2, "LFE_output_dim": 21,
     "LFE_ff_mult": 1, "LFE_num_scale": 1},
    **FRAMES, id_cond=noise(1, 4), id_vit_hidden=[noise(1, 2, 4)])
add("CosmosTransformer3DModel",
    {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 3,
     "mlp_ratio": 2, "text_embed_dim": 8, "adaln_lora_dim": 4, "max_size": (4, 32, 32),
     "concat_padding_mask": False},
    **VIDEO, fps=24)
add("Cosmos3OmniTransformer",
    {"head_dim": 12, "hidden_size": 24, "intermediate_size": 32, "latent_channel": 2, "latent_patch_size": 1,
     "num_attention_heads": 2, "num_hidden_layers": 3, "num_key_value_heads": 1, "patch_latent_dim": 2,
     "rope_axes_dim": [2, 2, 2], "vocab_size": 8},
    input_ids=torch.tensor([1, 2]), text_indexes=torch.tensor([0, 1]), position_ids=positions(6).T.clone(),
    und_len=2, sequence_length=6, vision_tokens=[noise(1, 2, 1, 2, 2)], vision_token_shapes=[(1, 2, 2)],
    vision_sequence_indexes=torch.arange(2, 6), vision_mse_loss_indexes=torch.arange(2, 6),
    vision_timesteps=ones(4) * 500, vision_noisy_frame_indexes=[torch.tensor([0])])
add("DiTTransformer2DModel", {**CLASSIC, "num_embeds_ada_norm": 8},
    hidden_states=noise(1, 4, 8, 8), timestep=torch.tensor([5]), class_labels=torch.tensor([3]))
add("DreamLiteTransformer2DModel",
    {**HEADS, "in_channels": 16, "num_layers": 3, "norm_num_groups": 2, "cross_attention_dim": 8},
    hidden_states=noise(1, 16, 4, 4), encoder_hidden_states=noise(1, 5, 8))
add("EasyAnimateTransformer3DModel",
    {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "patch_size": 2,
     "sample_width": 4, "sample_height": 4, "num_layers": 3, "mmdit_layers": 2, "time_embed_dim": 4,
     "text_embed_dim": 8},
    **VIDEO)
add("ErnieImageTransformer2DModel",
    {"hidden_size": 24, "num_attention_heads": 2, "num_layers": 3, "ffn_hidden_size": 32, "in_channels": 4,
     "out_channels": 4, "text_in_dim": 8, "rope_axes_dim": (4, 4, 4)},
    hidden_states=noise(1, 4, 4, 4), timestep=time(), text_bth=noise(1, 5, 8), text_lens=torch.tensor([5]))
add("FluxTransformer2DModel", {**FLUX, "pooled_projection_dim": 8}, **PACKED, pooled_projections=noise(1, 8))
add("Flux2Transformer2DModel", {**FLUX, "axes_dims_rope": (2, 2, 2, 2), "timestep_guidance_channels": 8},
    **{**PACKED, "img_ids": positions(16, 4), "txt_ids": positions(5, 4)}, guidance=time(4.0))
add("Flux3Transformer2DModel",
    {"in_channels": 4, "cond_in_channels": 4, "num_layers": 2, "num_single_layers": 2, **HEADS,
     "joint_attention_dim": 8, "axes_dims_rope": (2, 2, 2, 2), "timestep_channels": 8},
    **{**PACKED, "img_ids": positions(16, 4), "txt_ids": positions(5, 4)})
add("GlmImageTransformer2DModel",
    {**HEADS, "in_channels": 4, "out_channels": 4, "num_layers": 3, "text_embed_dim": 8, "time_embed_dim": 8,
     "condition_dim": 4, "prior_vq_quantizer_codebook_size": 8},
    **IMAGE, prior_token_id=torch.arange(16)[None] % 8, prior_token_drop=torch.zeros(1, 16, dtype=torch.bool),
    target_size=ones(1, 2) * 8, crop_coords=torch.zeros(1, 2))
add("HeliosTransformer3DModel",
    {k: v for k, v in WAN.items() if k != "rope_max_seq_len"} | {"rope_dim": (4, 4, 4)},
    **VIDEO, indices_hidden_states=ones(1, 2), indices_latents_history_short=ones(1, 1),
    indices_latents_history_mid=ones(1, 1), indices_latents_history_long=ones(1, 4),
    latents_history_short=noise(1, 4, 1, 4, 4), latents_history_mid=noise(1, 4, 1, 4, 4),
    latents_history_long=noise(1, 4, 4, 4, 4))
add("HiDreamImageTransformer2DModel",
    {**HEADS, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2, "num_single_layers": 2,
     "caption_channels": [8, 4], "text_emb_dim": 8, "num_routed_experts": 2, "num_activated_experts": 2,
     "axes_dims_rope": (4, 2, 2), "max_resolution": (8, 8), "llama_layers": (0, 1, 0, 1),
     "force_inference_output": True},
    hidden_states=noise(1, 4, 8, 8), timesteps=time(), encoder_hidden_states_t5=noise(1, 5, 8),
    encoder_hidden_states_llama3=noise(2, 1, 5, 4), pooled_embeds=noise(1, 8))
add("HunyuanDiT2DModel",
    {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "patch_size": 2,
     "activation_fn": "gelu-approximate", "sample_size": 8, "hidden_size": 16, "num_layers": 6,
     "cross_attention_dim": 8, "cross_attention_dim_t5": 8, "pooled_projection_dim": 4, "text_len": 3,
     "text_len_t5": 3},
    hidden_states=noise(1, 4, 8, 8), timestep=time(), encoder_hidden_states=noise(1, 3, 8),
    text_embedding_mask=ones(1, 3), encoder_hidden_states_t5=noise(1, 3, 8),
    text_embedding_mask_t5=ones(1, 3),
    image_meta_size=ones(1, 6), style=torch.zeros(1, dtype=torch.long), image_rotary_emb=rotary(16, 8))
HUNYUAN = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2,
    "num_refiner_layers": 1, "mlp_ratio": 2.0, "rope_axes_dim": (2, 2, 4), "text_embed_dim": 8,
}
add("HunyuanVideoTransformer3DModel", {**HUNYUAN, "num_single_layers": 2, "pooled_projection_dim": 8},
    **VIDEO, **MASK, pooled_projections=noise(1, 8), guidance=time(4000.0))
add("HunyuanVideo15Transformer3DModel",
    {**HUNYUAN, "num_layers": 3, "text_embed_2_dim": 4, "image_embed_dim": 8, "target_size": 16,
     "task_type": "t2v"},
    **VIDEO, **MASK, encoder_hidden_states_2=noise(1, 4, 4), encoder_attention_mask_2=ones(1, 4),
    image_embeds=torch.zeros(1, 3, 8))
add("HunyuanVideoFramepackTransformer3DModel",
    {**HUNYUAN, "num_single_layers": 2, "pooled_projection_dim": 8, "has_image_proj": True,
     "image_proj_dim": 8, "has_clean_x_embedder": True},
    **VIDEO, **MASK, pooled_projections=noise(1, 8), guidance=time(4000.0), image_embeds=noise(1, 3, 8),
    indices_latents=torch.arange(2), latents_clean=noise(1, 4, 2, 4, 4),
    indices_latents_clean=torch.arange(2),
    latents_history_2x=noise(1, 4, 2, 4, 4), indices_latents_history_2x=torch.arange(2),
    latents_history_4x=noise(1, 4, 8, 4, 4), indices_latents_history_4x=torch.arange(8))
add("HunyuanImageTransformer2DModel",
    {**HUNYUAN, "num_single_layers": 2, "patch_size": (2, 2), "rope_axes_dim": (4, 4), "text_embed_2_dim": 4},
    **IMAGE, **MASK, encoder_hidden_states_2=noise(1, 4, 4), encoder_attention_mask_2=ones(1, 4))
add("Ideogram4Transformer2DModel",
    {**HEADS, "in_channels": 4, "num_layers": 3, "intermediate_size": 32, "adaln_dim": 8,
     "llm_features_dim": 8, "mrope_section": (2, 1, 1)},
    hidden_states=noise(1, 8, 4), timestep=time(0.5), encoder_hidden_states=noise(1, 8, 8),
    position_ids=positions(8)[None], segment_ids=torch.ones(1, 8, dtype=torch.long),
    indicator=torch.tensor([[3] * 4 + [2] * 4]))
JOY = {
    "in_channels": 4, "hidden_size": 32, "num_attention_heads": 2, "text_dim": 8, "num_layers": 3,
    "rope_dim_list": [4, 6, 6],
}
add("JoyImageEditTransformer3DModel", JOY, **VIDEO)
add("JoyImageEditPlusTransformer3DModel", JOY,
    **{**VIDEO, "hidden_states": noise(1, 2, 4, 1, 2, 2)}, shape_list=[[(1, 1, 1), (1, 1, 1)]])
KANDINSKY = {
    "in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": 8, "in_text_dim2": 8, "time_dim": 16,
    "model_dim": 24, "ff_dim": 32, "num_text_blocks": 1, "num_visual_blocks": 9, "axes_dims": (4, 4, 4),
}
CHANNELS_LAST = {**FRAMES, "pooled_projections": noise(1, 8)}
add("Kandinsky5Transformer3DModel", KANDINSKY,
    **CHANNELS_LAST, visual_rope_pos=tuple(torch.arange(n) for n in (2, 2, 2)), text_rope_pos=torch.arange(6))
add("Kandinsky6Transformer3DModel", {**KANDINSKY, "in_audio_dim": 4, "out_audio_dim": 4,
     "visual_cond": False},
    **CHANNELS_LAST)
add("Kandinsky6Transformer3DModel", {**KANDINSKY, "in_audio_dim": 4, "out_audio_dim": 4,
     "visual_cond": False},
    " with audio", **CHANNELS_LAST, audio_hidden_states=noise(1, 3, 4))
add("Kandinsky6SRTransformer3DModel",
    {"in_visual_dim": 4, "out_visual_dim": 8, "time_dim": 16, "patch_size": (1, 2, 2), "model_dim": 24,
     "ff_dim": 32, "num_visual_blocks": 3, "axes_dims": (4, 4, 4)},
    hidden_states=noise(1, 2, 16, 16, 9), timestep=time())
add("Krea2Transformer2DModel",
    {"in_channels": 4, "num_layers": 3, **HEADS, "num_key_value_heads": 1, "intermediate_size": 32,
     "timestep_embed_dim": 8, "text_hidden_dim": 8, "num_text_layers": 3, "text_num_attention_heads": 2,
     "text_num_key_value_heads": 1, "text_intermediate_size": 16, "num_layerwise_text_blocks": 1,
     "num_refiner_text_blocks": 1, "axes_dims_rope": (4, 2, 2)},
    hidden_states=noise(1, 4, 4), encoder_hidden_states=noise(1, 4, 3, 8), timestep=time(0.5),
    position_ids=positions(8), encoder_attention_mask=truth(1, 4))
add("LatteTransformer3DModel",
    {**CLASSIC, "num_layers": 2, "attention_bias": True, "norm_type": "ada_norm_single",
     "num_embeds_ada_norm": 8, "caption_channels": 8, "cross_attention_dim": 16, "video_length": 2,
     "norm_elementwise_affine": False},
    hidden_states=noise(1, 4, 2, 8, 8), encoder_hidden_states=noise(1, 5, 8), timestep=time())
add("LongCatAudioDiTTransformer",
    {"dit_dim": 16, "dit_depth": 3, "dit_heads": 2, "dit_text_dim": 8, "latent_dim": 4, "text_conv": False},
    hidden_states=noise(1, 8, 4), encoder_hidden_states=noise(1, 5, 8), encoder_attention_mask=truth(1, 5),
    attention_mask=truth(1, 8), timestep=time(0.5))
add("LongCatImageTransformer2DModel", {**FLUX, "pooled_projection_dim": 8}, **PACKED)
add("LTXVideoTransformer3DModel",
    {"in_channels": 4, "out_channels": 4, **HEADS, "cross_attention_dim": 16, "num_layers": 3,
     "caption_channels": 8},
    hidden_states=noise(1, 8, 4), encoder_hidden_states=noise(1, 5, 8), timestep=time(),
    encoder_attention_mask=ones(1, 5), num_frames=2, height=2, width=2)
LTX2 = {
    "in_channels": 4, "out_channels": 4, **HEADS, "cross_attention_dim": 16, "audio_in_channels": 4,
    "audio_out_channels": 4, "audio_num_attention_heads": 2, "audio_attention_head_dim": 4,
    "audio_cross_attention_dim": 8, "num_layers": 3, "caption_channels": 8, "rope_double_precision": False,
}
add("LTX2VideoTransformer3DModel", LTX2,
    hidden_states=noise(1, 8, 4), audio_hidden_states=noise(1, 3, 4), encoder_hidden_states=noise(1, 5, 8),
    audio_encoder_hidden_states=noise(1, 5, 8), timestep=time(), encoder_attention_mask=truth(1, 5),
    num_frames=2, height=2, width=2, audio_num_frames=3)
add("SanaWMLTX2RefinerTransformer3DModel", LTX2,
    hidden_states=noise(1, 8, 4), encoder_hidden_states=noise(1, 5, 8), timestep=time(500.0, 1, 8),
    video_rotary_emb=tuple(part[None] for part in rotary(8, 16)), encoder_attention_mask=ones(1, 5))
add("LuminaNextDiT2DModel",
    {"sample_size": 8, "in_channels": 4, "hidden_size": 16, "num_layers": 3, "num_attention_heads": 2,
     "num_kv_heads": 1, "multiple_of": 8, "cross_attention_dim": 8},
    hidden_states=noise(1, 4, 8, 8), timestep=time(0.5), encoder_hidden_states=noise(1, 5, 8),
    encoder_mask=truth(1, 5), image_rotary_emb=torch.polar(ones(4, 4, 4), torch.rand(4, 4, 4)),
    cross_attention_kwargs={})
add("Lumina2Transformer2DModel",
    {"sample_size": 8, "in_channels": 4, "hidden_size": 24, "num_layers": 3, "num_refiner_layers": 1,
     "num_attention_heads": 2, "num_kv_heads": 1, "multiple_of": 8, "axes_dim_rope": (4, 4, 4),
     "axes_lens": (16, 16, 16), "cap_feat_dim": 8},
    **{**IMAGE, "timestep": time(0.5)}, encoder_attention_mask=truth(1, 5))
add("MiniMaxH3Transformer3DModel",
    {"num_attention_heads": 2, "attention_head_dim": 16, "hidden_size": 24, "num_layers": 3,
     "num_refiner_layers": 1, "ffn_dim": 32, "in_channels": 4, "audio_in_channels": 6, "text_dim": 8,
     "freq_dim": 8, "time_embed_hidden_dim": 24, "time_embed_dim": 16, "rope_freq_dim": 2},
    hidden_states=noise(1, 8, 16), audio_hidden_states=noise(1, 6, 6), encoder_hidden_states=noise(1, 4, 8),
    timestep=torch.tensor([0.7, 0.3]), timestep_indices=torch.tensor([0] * 4 + [1] * 6 + [0] * 8),
    token_tags=torch.tensor([1] * 4 + [2] * 6 + [0] * 8), position_ids=positions(18).float(),
    video_indices=torch.arange(10, 18), audio_indices=torch.arange(4, 10), text_indices=torch.arange(4))
add("MiniMaxMusic3RVQDepthDecoder",
    {"hidden_size": 16, "num_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
     "audio_vocab_size": 8, "num_codebooks": 2},
    dicts=False, inputs_embeds=noise(1, 4, 16))
add("MiniMaxMusic3Transformer1DModel",
    {"in_channels": 4, "condition_dim": 8, "num_layers": 3, **HEADS, "ff_inner_dim": 32, "rotary_dim": 4,
     "fourier_embedding_dim": 8},
    hidden_states=noise(1, 4, 8), encoder_hidden_states=noise(1, 8, 8), timestep=time(0.5))
add("MochiTransformer3DModel",
    {**HEADS, "num_layers": 3, "pooled_projection_dim": 8, "in_channels": 4, "text_embed_dim": 8,
     "time_embed_dim": 4, "max_sequence_length": 5},
    **VIDEO, encoder_attention_mask=truth(1, 5))
add("MotifVideoTransformer3DModel",
    {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2,
     "num_single_layers": 3, "num_decoder_layers": 1, "text_embed_dim": 8, "rope_axes_dim": (4, 4, 4)},
    **VIDEO)
add("NucleusMoEImageTransformer2DModel",
    {"in_channels": 4, "out_channels": 4, "num_layers": 3, "attention_head_dim": 24, "num_attention_heads": 2,
     "joint_attention_dim": 8, "axes_dims_rope": (8, 8, 8), "moe_enabled": False,
     "capacity_factors": [8.0] * 3},
    hidden_states=noise(1, 16, 4), img_shapes=[(1, 4, 4)], encoder_hidden_states=noise(1, 5, 8),
    encoder_hidden_states_mask=torch.ones(1, 5, dtype=torch.long), timestep=time(0.5))
add("OmniGenTransformer2DModel",
    {"in_channels": 4, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2,
     "intermediate_size": 32, "num_layers": 3, "pad_token_id": 0, "vocab_size": 16,
     "rope_scaling": {"short_factor": [1.0] * 4, "long_factor": [1.0] * 4}, "pos_embed_max_size": 8,
     "time_step_dim": 8},
    hidden_states=noise(1, 4, 4, 4), timestep=time(0.5), input_ids=torch.arange(1, 4)[None],
    input_img_latents=[], input_image_sizes={}, attention_mask=torch.ones(1, 8, 8, dtype=torch.long),
    position_ids=torch.arange(8)[None])
add("OvisImageTransformer2DModel", FLUX | {"out_channels": 4}, **PACKED)
add("PRXTransformer2DModel",
    {"in_channels": 4, "context_in_dim": 8, "hidden_size": 16, "num_heads": 2, "depth": 3,
     "axes_dim": [4, 4]},
    **{**IMAGE, "timestep": time(0.5)})
add("PixArtTransformer2DModel",
    {**CLASSIC, "cross_attention_dim": 16, "caption_channels": 8, "use_additional_conditions": False},
    **IMAGE, added_cond_kwargs={"resolution": None, "aspect_ratio": None})
add("PriorTransformer",
    {**HEADS, "num_layers": 3, "embedding_dim": 8, "num_embeddings": 5, "additional_embeddings": 4},
    hidden_states=noise(1, 8), timestep=time(), proj_embedding=noise(1, 8),
    encoder_hidden_states=noise(1, 5, 8))
QWEN = {
    "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 3, **HEADS,
    "joint_attention_dim": 8, "axes_dims_rope": (2, 2, 4),
}
QWEN_INPUTS = {
    "hidden_states": noise(1, 16, 4), "encoder_hidden_states": noise(1, 5, 8), "timestep": time(0.5),
    "encoder_hidden_states_mask": torch.ones(1, 5, dtype=torch.long), "img_shapes": [(1, 4, 4)],
}
if takes("QwenImageTransformer2DModel", "txt_seq_lens"):
    QWEN_INPUTS["txt_seq_lens"] = [5]  # diffusers until 0.37 cannot do without.
add("QwenImageTransformer2DModel", QWEN, **QWEN_INPUTS)
add("QwenImage21Transformer2DModel",
    {"in_channels": 4, "out_channels": 4, "num_layers": 3, "attention_head_dim": 16, "num_attention_heads": 2,
     "context_in_dim": 8, "mlp_ratio": 2, "axes_dims_rope": (4, 6, 6)},
    hidden_states=noise(1, 4, 4), encoder_hidden_states=noise(1, 4, 8),
    encoder_hidden_states_mask=torch.ones(1, 4, dtype=torch.long), timestep=time(0.5),
    img_shapes=[[(1, 2, 2)]], img_mask=torch.tensor([[False] * 4 + [True]]))
add("RFD4ProteinaTransformer",
    {"nlayers": 3, "token_dim": 16, "nheads": 2, "dim_cond": 8, "pair_repr_dim": 8, "latent_dim": 4,
     "token_type_emb_dim": 4, "cath_emb_dim": 4, "t_emb_dim": 8, "seq_sep_dim": 8, "tri_mult_c": 8,
     "feats_seq": ("xt_bb_ca", "xt_local_latents"),
     "feats_cond_seq": ("time_emb_bb_ca", "time_emb_local_latents"),
     "feats_pair_repr": ("xt_bb_ca_pair_dists",)},
    bb_ca=noise(1, 6, 3), local_latents=noise(1, 6, 4), bb_ca_time=time(0.5), local_latents_time=time(0.5),
    padding_mask=truth(1, 6), recycle_depth=2,
    conditioning={"is_in_context_conditioning": ~truth(1, 6), "supports_local_latent": truth(1, 6)})
SANA = {
    "in_channels": 4, "out_channels": 4, **HEADS, "num_layers": 3, "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8, "cross_attention_dim": 16, "caption_channels": 8, "sample_size": 8,
}
add("SanaTransformer2DModel", SANA, **IMAGE)
add("SanaVideoTransformer3DModel", {**SANA, "attention_head_dim": 12, "cross_attention_dim": 24,
    "cross_attention_head_dim": 12}, **VIDEO)
CAMERA = torch.cat([torch.eye(4).flatten(), torch.tensor([4.0, 4.0, 2.0, 2.0])])
add("SanaWMTransformer3DModel",
    {"in_channels": 4, "num_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "softmax_every_n": 2,
     "linear_head_dim": 16, "caption_channels": 8, "mlp_ratio": 2.0, "chunk_plucker_channels": 4,
     "chunk_plucker_post_attn_blocks": 3},
    hidden_states=noise(1, 4, 4, 4, 4), timestep=time(500.0, 1, 1, 4),
    encoder_hidden_states=noise(1, 1, 5, 8),
    encoder_attention_mask=torch.ones(1, 5, dtype=torch.long), chunk_plucker=noise(1, 4, 4, 4, 4),
    camera_conditions=CAMERA.expand(1, 4, 20))
add("SD3Transformer2DModel",
    {**CLASSIC, "out_channels": 4, "joint_attention_dim": 8, "caption_projection_dim": 16,
     "pooled_projection_dim": 8},
    **IMAGE, pooled_projections=noise(1, 8))
add("SkyReelsV2Transformer3DModel", WAN, **VIDEO)
add("SkyReelsV2Transformer3DModel", {**WAN, "inject_sample_info": True}, " forcing",
    **{**VIDEO, "timestep": time(500.0, 1, 2)}, enable_diffusion_forcing=True, fps=torch.tensor([1]))
add("StableAudioDiTModel",
    {"sample_size": 8, "in_channels": 4, "num_layers": 3, "attention_head_dim": 8, "num_attention_heads": 2,
     "num_key_value_attention_heads": 1, "out_channels": 4, "cross_attention_dim": 8, "time_proj_dim": 8,
     "global_states_input_dim": 8, "cross_attention_input_dim": 8},
    hidden_states=noise(1, 4, 8), timestep=time(0.5), encoder_hidden_states=noise(1, 5, 8),
    global_hidden_states=noise(1, 1, 8), rotary_embedding=rotary(9, 4))
add("StableAudio3DiTModel",
    {"io_channels": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "cond_token_dim": 8, "global_cond_dim": 8,
     "local_add_cond_dim": 4, "timestep_features_dim": 8, "ff_mult": 2, "num_memory_tokens": 2},
    hidden_states=noise(1, 4, 8), timestep=time(0.5), encoder_hidden_states=noise(1, 5, 8),
    global_hidden_states=noise(1, 8))
add("T5FilmDecoder",
    {"input_dims": 4, "targets_length": 8, "d_model": 16, "num_layers": 3, "num_heads": 2, "d_kv": 8,
     "d_ff": 32},
    dicts=False, encodings_and_masks=[(noise(1, 5, 16), ones(1, 5))], decoder_input_tokens=noise(1, 8, 4),
    decoder_noise_time=time(0.5))
add("Transformer2DModel", {**CLASSIC, "norm_type": "ada_norm_zero", "num_embeds_ada_norm": 8,
    "norm_elementwise_affine": False, "attention_bias": True},
    hidden_states=noise(1, 4, 8, 8), timestep=torch.tensor([5]), class_labels=torch.tensor([3]))
add("TransformerTemporalModel",
    {**HEADS, "in_channels": 16, "num_layers": 3, "norm_num_groups": 2},
    hidden_states=noise(4, 16, 4, 4), num_frames=4)
add("WanTransformer3DModel", WAN, **VIDEO)
add("WanTransformer3DModel", {**WAN, "image_dim": 8, "added_kv_proj_dim": 24}, " with image",
    **{**VIDEO, "timestep": time(500.0, 1, 8)}, encoder_hidden_states_image=noise(1, 3, 8))
add("WanAnimateTransformer3DModel",
    {**WAN, "in_channels": 12, "latent_channels": 4, "image_dim": 8, "num_layers": 4,
     "motion_encoder_channel_sizes": {"4": 8, "8": 8, "16": 8}, "motion_encoder_size": 16,
     "motion_style_dim": 8, "motion_dim": 4, "motion_encoder_dim": 8, "face_encoder_hidden_dim": 8,
     "face_encoder_num_heads": 2, "inject_face_latents_blocks": 2},
    hidden_states=noise(1, 12, 3, 4, 4), timestep=time(), encoder_hidden_states=noise(1, 5, 8),
    encoder_hidden_states_image=noise(1, 3, 8), pose_hidden_states=noise(1, 4, 2, 4, 4),
    face_pixel_values=noise(1, 3, 5, 16, 16))
add("WanAnimate2Transformer3DModel",
    {"text_len": 5, "in_dim": 8, "out_dim": 4, "dim": 32, "ffn_dim": 32, "freq_dim": 32, "text_dim": 8,
     "num_heads": 2, "num_layers": 3, "use_img_emb": False},
    hidden_states=[noise(4, 3, 4, 4)], condition_latents=[noise(4, 3, 4, 4)],
    encoder_hidden_states=[noise(5, 8)], timestep=time(),
    kv_cache=Made("transformer_wan_animate_2", "WanAnimate2KVCache", 3),
    kv_cache_mode="extract", seq_len=12, offset_grid_sizes=torch.tensor([[3, 2, 2]]))
add("WanVACETransformer3DModel", {**WAN, "vace_layers": [0, 2], "vace_in_channels": 8},
    **VIDEO, control_hidden_states=noise(1, 8, 2, 4, 4), control_hidden_states_scale=ones(2) * 0.7)
add("ZImageTransformer2DModel",
    {"in_channels": 4, "dim": 32, "n_layers": 3, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
     "cap_feat_dim": 8, "axes_dims": [4, 6, 6], "axes_lens": [64, 16, 16]},
    x=[noise(4, 1, 8, 8)], t=time(0.5), cap_feats=[noise(5, 8)])

TOKENS = [noise(1, 16, 16)] * 2
add_controlled("BriaTransformer2DModel", controlnet_block_samples=TOKENS)
add_controlled("ChromaTransformer2DModel", controlnet_block_samples=TOKENS,
    controlnet_single_block_samples=TOKENS)
add_controlled("FluxTransformer2DModel", controlnet_block_samples=TOKENS,
    controlnet_single_block_samples=TOKENS)
add_controlled("HunyuanDiT2DModel", controlnet_block_samples=TOKENS)
add_controlled("QwenImageTransformer2DModel", controlnet_block_samples=TOKENS)
add_controlled("SanaTransformer2DModel", controlnet_block_samples=(noise(1, 64, 16),) * 3)
add_controlled("SD3Transformer2DModel", block_controlnet_hidden_states=TOKENS)
add_controlled("WanVACETransformer3DModel", control_hidden_states_scale=ones(2) * 3)
add_controlled("ZImageTransformer2DModel", controlnet_block_samples={0: noise(1, 64, 32),
     2: noise(1, 64, 32)})
# fmt: on
