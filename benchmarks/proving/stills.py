"""Proving models of stills: a UNet, PixArt, and SD3 and Flux with what is distilled from them."""

from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from flow import draw_sigmas, noised
from kind import Kind, Networks, diffused, squared, still_latents, timesteps
from parts import CAPTION_TOKENS, SIDE, projecting, still_parts
from torch import Tensor

CHANNELS = 8
GRID = 16
TEACHER_STEPS = 20
TEACHER_SCALE = 4.0


class UNetEpsilon(Kind):
    name = "unet-epsilon"
    says = "UNet (Stable Diffusion's kind), epsilon, scaled-linear betas, DDIM, guidance in one batch"
    call: ClassVar = {"guidance_scale": 5.0, "height": SIDE, "width": SIDE}

    def networks(self) -> Networks:
        block = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
        unet = UNet2DConditionModel(
            sample_size=GRID,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            block_out_channels=(64, 128),
            down_block_types=block[0],
            up_block_types=block[1],
            layers_per_block=1,
            cross_attention_dim=192,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        return {"unet": unet}

    def pipeline(self, networks: Networks) -> Any:
        parts = still_parts()
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        return StableDiffusionPipeline(
            vae=parts.vae,
            text_encoder=parts.clip,
            tokenizer=parts.clip_tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **networks,
        )

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        return still_latents(pictures, shifted=False)

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        return (pipe.encode_prompt(captions, pipe.device, 1, False)[0],)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        times = timesteps(latents)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        mixed, noise, _, _ = diffused(latents, KEPT_UNET.get(latents.device, betas), times)
        return squared(networks["unet"](mixed, times, condition[0], return_dict=False)[0], noise)


class _Kept:
    """The sample's share of the variance at each timestep, once on each device: no copies in a recording."""

    def __init__(self) -> None:
        self._on: dict[torch.device, Tensor] = {}

    def get(self, device: torch.device, betas: Tensor) -> Tensor:
        if device not in self._on:
            self._on[device] = (1 - betas).cumprod(0).float().to(device)
        return self._on[device]


KEPT_UNET, KEPT_PIXART = _Kept(), _Kept()


class PixArt(Kind):
    name = "pixart"
    says = "DiT with cross-attention (PixArt), epsilon and learned variance, linear betas, DPM++ 2M"
    call: ClassVar = {
        "guidance_scale": 4.0,
        "height": SIDE,
        "width": SIDE,
        "clean_caption": False,
        "use_resolution_binning": False,
        "max_sequence_length": CAPTION_TOKENS,
    }

    def networks(self) -> Networks:
        transformer = PixArtTransformer2DModel(
            num_attention_heads=4,
            attention_head_dim=32,
            in_channels=CHANNELS,
            out_channels=2 * CHANNELS,
            num_layers=8,
            cross_attention_dim=128,
            sample_size=GRID,
            patch_size=2,
            caption_channels=256,
            interpolation_scale=1,
        )
        return {"transformer": transformer}

    def pipeline(self, networks: Networks) -> Any:
        parts = still_parts()
        return PixArtAlphaPipeline(
            tokenizer=parts.t5_tokenizer,
            text_encoder=parts.t5,
            vae=parts.vae,
            scheduler=DPMSolverMultistepScheduler(
                beta_start=0.0001, beta_end=0.02, beta_schedule="linear", solver_order=2
            ),
            **networks,
        )

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        return still_latents(pictures, shifted=False)

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        text, mask, _, _ = pipe.encode_prompt(
            captions, do_classifier_free_guidance=False, max_sequence_length=CAPTION_TOKENS
        )
        return text, mask.to(text.dtype)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        times = timesteps(latents)
        betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64)
        kept = KEPT_PIXART.get(latents.device, betas)
        mixed, noise, _, _ = diffused(latents, kept, times)
        made = networks["transformer"](
            mixed,
            encoder_hidden_states=condition[0],
            timestep=times,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            encoder_attention_mask=condition[1],
            return_dict=False,
        )[0].float()
        epsilon, variance = made.chunk(2, dim=1)
        return squared(epsilon, noise) + 0.001 * variance_loss(
            kept, times, noise - epsilon.detach(), variance
        )


def variance_loss(kept: Tensor, times: Tensor, error: Tensor, variance: Tensor) -> Tensor:
    """The divergence of the learned reverse step from the true one, in nats per element.

    Args:
        kept: the sample's share of the variance at each timestep.
        times: ``(batch,)``.
        error: of the predicted noise, which moves the mean of the step.
        variance: the network's; -1 and 1 stand for the least and the largest variance.
    """
    share, before = kept[times], torch.where(times > 0, kept[(times - 1).clamp(min=0)], kept[0])
    beta = (1 - share / before).clamp(min=1e-5)
    posterior = (beta * (1 - before) / (1 - share)).clamp(min=1e-5)
    low, high, mean = (
        value.view(-1, 1, 1, 1)
        for value in (posterior.log(), beta.log(), beta / ((1 - share) * (1 - beta)).sqrt())
    )
    log = low + (variance + 1) / 2 * (high - low)
    return 0.5 * (log - low + (low - log).exp() + (mean * error).square() * (-log).exp() - 1).mean()


class SD3(Kind):
    name = "sd3"
    says = "MMDiT (SD3's kind), rectified flow with shift 3, Euler, guidance in one batch"
    shift: ClassVar[float] = 3.0
    call: ClassVar = {
        "guidance_scale": 4.0,
        "height": SIDE,
        "width": SIDE,
        "max_sequence_length": CAPTION_TOKENS,
    }

    def networks(self) -> Networks:
        transformer = SD3Transformer2DModel(
            sample_size=GRID,
            patch_size=2,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_layers=4,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=256,
            caption_projection_dim=128,
            pooled_projection_dim=384,
            pos_embed_max_size=GRID,
        )
        return {"transformer": transformer}

    def pipeline(self, networks: Networks) -> Any:
        parts = still_parts()
        clip = projecting(parts.clip)
        return StableDiffusion3Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=self.shift),
            vae=parts.vae,
            text_encoder=clip,
            tokenizer=parts.clip_tokenizer,
            text_encoder_2=clip,
            tokenizer_2=parts.clip_tokenizer,
            text_encoder_3=parts.t5,
            tokenizer_3=parts.t5_tokenizer,
            **networks,
        )

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        text, _, pooled, _ = pipe.encode_prompt(
            captions,
            None,
            None,
            device=pipe.device,
            do_classifier_free_guidance=False,
            max_sequence_length=CAPTION_TOKENS,
        )
        return text, pooled

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        sigmas = draw_sigmas(len(latents), self.shift, latents.device)
        mixed, velocity = noised(latents, sigmas)
        return squared(self.velocity(networks, mixed, sigmas, condition), velocity)

    def velocity(self, networks: Networks, mixed: Tensor, sigmas: Tensor, condition: list[Tensor]) -> Tensor:
        """What the transformer predicts."""
        made: Tensor = networks["transformer"](
            mixed, condition[0], condition[1], sigmas * 1000, return_dict=False
        )[0]
        return made


class SD3FewSteps(SD3):
    name = "sd3-few-steps"
    says = (
        "the same, straightened for 4 to 8 steps by training on pairs of noise and picture of the sd3 model"
    )
    teacher = "sd3"
    call: ClassVar = {**SD3.call, "guidance_scale": 1.0, "num_inference_steps": 8}

    @torch.no_grad()
    def examples(self, pipe: Any, pictures: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
        """The teacher's pictures beside the noise that they were made of, as more channels."""
        networks, empty = self.taught_by
        none = [value.expand_as(given) for value, given in zip(empty, condition, strict=True)]
        noise = torch.randn(len(pictures), CHANNELS, GRID, GRID, device=pictures.device)
        levels = torch.linspace(1, 0, TEACHER_STEPS + 1, device=noise.device)
        levels, made = self.shift * levels / (1 + (self.shift - 1) * levels), noise
        for level, after in pairwise(levels):
            sigmas = level.expand(len(made))
            cond, uncond = (self.velocity(networks, made, sigmas, list(text)) for text in (condition, none))
            made = made + (after - level) * (uncond + TEACHER_SCALE * (cond - uncond))
        return torch.cat([made, noise], dim=1)

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        made, noise = latents.chunk(2, dim=1)
        sigmas = torch.rand(len(latents), device=latents.device)
        sigmas = self.shift * sigmas / (1 + (self.shift - 1) * sigmas)
        level = sigmas.view(-1, 1, 1, 1)
        mixed = (1 - level) * made + level * noise
        return squared(self.velocity(networks, mixed, sigmas, condition), noise - made)


class Flux(Kind):
    name = "flux"
    says = "MMDiT with single blocks (Flux's kind), rectified flow, Euler, true guidance in two calls"
    guidance = "true_cfg_scale"
    shift: ClassVar[float] = 1.5
    guided: ClassVar[bool] = False
    call: ClassVar = {
        "true_cfg_scale": 4.0,
        "negative_prompt": "",
        "height": SIDE,
        "width": SIDE,
        "max_sequence_length": CAPTION_TOKENS,
    }

    def networks(self) -> Networks:
        transformer = FluxTransformer2DModel(
            in_channels=4 * CHANNELS,
            num_layers=2,
            num_single_layers=4,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=256,
            pooled_projection_dim=192,
            guidance_embeds=self.guided,
            axes_dims_rope=(8, 12, 12),
        )
        return {"transformer": transformer}

    def pipeline(self, networks: Networks) -> Any:
        parts = still_parts()
        return FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=parts.vae,
            text_encoder=parts.clip,
            tokenizer=parts.clip_tokenizer,
            text_encoder_2=parts.t5,
            tokenizer_2=parts.t5_tokenizer,
            **networks,
        )

    def encode(self, pipe: Any, pictures: Tensor) -> Tensor:
        latents = super().encode(pipe, pictures)
        return FluxPipeline._pack_latents(latents, *latents.shape)

    def condition(self, pipe: Any, captions: list[str]) -> tuple[Tensor, ...]:
        text, pooled, _ = pipe.encode_prompt(
            captions, None, device=pipe.device, max_sequence_length=CAPTION_TOKENS
        )
        return text, pooled

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        sigmas = draw_sigmas(len(latents), self.shift, latents.device)
        mixed, velocity = noised(latents, sigmas)
        return squared(self.velocity(networks, mixed, sigmas, condition), velocity)

    def velocity(
        self,
        networks: Networks,
        mixed: Tensor,
        sigmas: Tensor,
        condition: list[Tensor],
        scale: Tensor | None = None,
    ) -> Tensor:
        """What the transformer predicts."""
        made: Tensor = networks["transformer"](
            hidden_states=mixed,
            encoder_hidden_states=condition[0],
            pooled_projections=condition[1],
            timestep=sigmas,
            img_ids=places(mixed.device),
            txt_ids=torch.zeros(condition[0].shape[1], 3, device=mixed.device),
            guidance=scale,
            return_dict=False,
        )[0]
        return made


class FluxDistilled(Flux):
    name = "flux-distilled"
    says = (
        "the same, taught by the flux model to guide itself at scales 1 to 8 in one call (FLUX.1-dev's kind)"
    )
    guidance = "guidance_scale"
    guided = True
    teacher = "flux"
    call: ClassVar = {
        "guidance_scale": 4.0,
        "height": SIDE,
        "width": SIDE,
        "max_sequence_length": CAPTION_TOKENS,
    }

    def loss(self, networks: Networks, latents: Tensor, condition: list[Tensor]) -> Tensor:
        sigmas = draw_sigmas(len(latents), self.shift, latents.device)
        mixed, _ = noised(latents, sigmas)
        scale = 1 + 7 * torch.rand(len(latents), device=latents.device)
        teacher, empty = self.taught_by
        none = [value.expand_as(given) for value, given in zip(empty, condition, strict=True)]
        with torch.no_grad():
            cond, uncond = (self.velocity(teacher, mixed, sigmas, text) for text in (condition, none))
            wanted = uncond + scale.view(-1, 1, 1) * (cond - uncond)
        return squared(self.velocity(networks, mixed, sigmas, condition, scale), wanted.float())


@cache
def places(device: torch.device) -> Tensor:
    """Where each token of Flux is; made once, for no recording may copy from the CPU."""
    return FluxPipeline._prepare_latent_image_ids(1, GRID // 2, GRID // 2, device, torch.float32)
