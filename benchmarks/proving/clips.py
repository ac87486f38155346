"""Proving models of clips: CogVideoX with v-prediction, LTX, and Wan with two experts."""

from typing import Any, ClassVar

import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from flow import draw_sigmas, noised
from kind import Kind, Networks, diffused, squared, timesteps
from parts import CAPTION_TOKENS, FRAMES, SIDE, CompressingAutoencoder, Projection, clip_parts
from torch import Tensor, nn

CHANNELS = 16
SIZE: dict[str, Any] = {
    "height": SIDE,
    "width": SIDE,
    "num_frames": FRAMES,
    "max_sequence_length": CAPTION_TOKENS,
}


class CogVideoX(Kind):
    name = "cogvideox"
    says = "joint video transformer (CogVideoX), v-prediction, zero terminal SNR, DDIM, guidance in one batch"
    moving = True
    scale: ClassVar[float] = 0.45
    call: ClassVar = {**SIZE, "guidance_scale": 4.0}

    def networks(self) -> Networks:
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=4,
            attention_head_dim=32,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            time_embed_dim=64,
            text_embed_dim=256,
            num_layers=8,
            sample_width=SIDE // 4,
            sample_height=SIDE // 4,
            sample_frames=FRAMES,
            patch_size=2,
            max_text_seq_length=CAPTION_TOKENS,
            spatial_interpolation_scale=1.0,
        )
        return {"transformer": transformer}

    def pipeline(self, networks: Networks) -> Any:
        parts = clip_parts()
        autoencoder: Any = clip_parts().vae
        autoencoder.register_to_config(
            block_out_channels=[1, 1, 1], temporal_compression_ratio=4, scaling_factor=self.scale
        )
        return CogVideoXPipeline(
            tokenizer=parts.t5_tokenizer,
            text_encoder=parts.t5,
            vae=autoencoder,
            scheduler=self.scheduler(),
            **networks,
        )

    def scheduler(self) -> CogVideoXDDIMScheduler:
        return CogVideoXDDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            snr_shift_scale=1.0,
            timestep_spacing="trailing",
            clip_sample=False,
        )

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        return clip_parts().vae.encode(pictures).latent_dist.mode().transpose(1, 2) * self.scale

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        return (pipe.encode_prompt(captions, None, False, 1, max_sequence_length=CAPTION_TOKENS)[0],)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        times = timesteps(latents)
        mixed, noise, signal, level = diffused(latents, self.kept(latents.device), times)
        wanted = signal * noise - level * latents
        made = networks["transformer"](mixed, condition[0], times, return_dict=False)[0]
        return squared(made, wanted)

    def kept(self, device: torch.device) -> Tensor:
        """The sample's share of the variance at each timestep."""
        if device not in _KEPT:
            _KEPT[device] = self.scheduler().alphas_cumprod.float().to(device)
        return _KEPT[device]


_KEPT: dict[torch.device, Tensor] = {}


class LTX(Kind):
    name = "ltx"
    says = "video transformer over strongly compressed latents (LTX's kind), flow, shifted by length, Euler"
    moving = True
    shift: ClassVar[float] = 2.0
    channels: ClassVar[int] = 64
    frame_rate: ClassVar[int] = 8
    call: ClassVar = {**SIZE, "guidance_scale": 3.0, "frame_rate": frame_rate}

    def networks(self) -> Networks:
        transformer = LTXVideoTransformer3DModel(
            in_channels=self.channels,
            out_channels=self.channels,
            num_attention_heads=4,
            attention_head_dim=32,
            cross_attention_dim=128,
            num_layers=6,
            caption_channels=256,
        )
        return {"transformer": transformer, "projection": Projection(self.channels, 16 * CHANNELS)}

    def pipeline(self, networks: Networks) -> Any:
        parts = clip_parts()
        scheduler = FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024
        )
        return LTXPipeline(
            scheduler=scheduler,
            vae=CompressingAutoencoder(networks["projection"], parts.vae),
            text_encoder=parts.t5,
            tokenizer=parts.t5_tokenizer,
            transformer=networks["transformer"],
        )

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        latents, vae = pipe.vae.encode(pictures), pipe.vae
        packed: Tensor = pipe._pack_latents(
            pipe._normalize_latents(latents, vae.latents_mean, vae.latents_std)
        )
        return packed

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        text, mask, _, _ = pipe.encode_prompt(captions, None, False, 1, max_sequence_length=CAPTION_TOKENS)
        return text, mask.to(text.dtype)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        sigmas = draw_sigmas(len(latents), self.shift, latents.device)
        mixed, velocity = noised(latents, sigmas)
        side = SIDE // CompressingAutoencoder.spatial_compression_ratio
        made = networks["transformer"](
            mixed,
            condition[0],
            sigmas * 1000,
            condition[1],
            num_frames=(FRAMES - 1) // 4 + 1,
            height=side,
            width=side,
            rope_interpolation_scale=(4 / self.frame_rate, 16, 16),
            return_dict=False,
        )[0]
        return squared(made, velocity)


class WanExperts(Kind):
    name = "wan-experts"
    says = (
        "two experts that share a schedule (Wan 2.2's kind), flow with shift 5, UniPC, guidance in two calls"
    )
    moving = True
    shift: ClassVar[float] = 5.0
    boundary: ClassVar[float] = 0.875
    call: ClassVar = {**SIZE, "guidance_scale": 4.0, "guidance_scale_2": 3.0}

    def networks(self) -> Networks:
        return {"transformer": self._expert(), "transformer_2": self._expert()}

    def _expert(self) -> nn.Module:
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=4,
            attention_head_dim=32,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            text_dim=256,
            freq_dim=128,
            ffn_dim=512,
            num_layers=5,
            rope_max_seq_len=64,
        )

    def pipeline(self, networks: Networks) -> Any:
        parts = clip_parts()
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=self.shift
        )
        return WanPipeline(
            tokenizer=parts.t5_tokenizer,
            text_encoder=parts.t5,
            vae=parts.vae,
            scheduler=scheduler,
            boundary_ratio=self.boundary,
            **networks,
        )

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        return (pipe.encode_prompt(captions, None, False, 1, max_sequence_length=CAPTION_TOKENS)[0],)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        half = len(latents) // 2
        high = self.boundary + (1 - self.boundary) * torch.rand(half, device=latents.device)
        low = draw_sigmas(len(latents) - half, self.shift / 2, latents.device).clamp(max=self.boundary)
        parts = zip(
            ("transformer", "transformer_2"), (high, low), (slice(half), slice(half, None)), strict=True
        )
        return torch.stack(
            [
                self._of_expert(networks[name], latents[rows], levels, condition[0][rows])
                for name, levels, rows in parts
            ]
        ).mean()

    def _of_expert(self, expert: nn.Module, latents: Tensor, sigmas: Tensor, text: Tensor) -> Tensor:
        mixed, velocity = noised(latents, sigmas)
        return squared(expert(mixed, sigmas * 1000, text, return_dict=False)[0], velocity)
