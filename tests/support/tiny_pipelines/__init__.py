"""Tiny pipelines of every family, and how each lays out its evaluations."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import diffusers
import transformers
from packaging.version import Version

from support.tiny import Tiny, cogvideox
from support.tiny_pipelines import flux, guided, image, modular, unet, video, wan


@dataclass(frozen=True)
class Layout:
    """A pipeline, and what one run of it does.

    Args:
        make: builds it with the arguments of a short run.
        evaluations: for each model and branch, how often it is evaluated in that run.
        since: the first version of diffusers that can run it.
        transformers: the first version of transformers that it can be imported with.
    """

    make: Callable[[], Tiny]
    evaluations: dict[str, int]
    since: str = "0.35"
    transformers: str = "4.46"

    @property
    def available(self) -> bool:
        """Whether the installed versions have it."""
        return Version(diffusers.__version__) >= Version(self.since) and Version(
            transformers.__version__
        ) >= Version(self.transformers)


def named(make: Callable[[], Tiny], *branches: str, steps: int = 5, since: str = "0.35") -> Layout:
    """The pipeline names the branches of each step."""
    return Layout(make, {f"transformer {branch}": steps for branch in branches}, since)


def batched_unet(make: Callable[[], Tiny]) -> Layout:
    """One evaluation a step holds all branches."""
    return Layout(make, {"unet branch 0": 5})


def unnamed(make: Callable[[], Tiny], branches: int, steps: int = 5, since: str = "0.35") -> Layout:
    """The branches of each step are told apart by their prompts or their order."""
    return named(make, *(f"branch {n}" for n in range(branches)), steps=steps, since=since)


def qwen(make: Callable[[], Tiny], since: str = "0.35") -> Layout:
    """Qwen-Image's pipelines import Qwen2.5-VL, which transformers has from 4.49 on."""
    return replace(named(make, "cond", "uncond", since=since), transformers="4.49")


def third_branch(make: Callable[[], Tiny]) -> Layout:
    """A guider evaluates the conditional prompt once more, on all steps but the first."""
    evaluations = {"transformer branch 0": 5, "transformer branch 1": 5, "transformer branch 0, again": 4}
    return Layout(make, evaluations, since="0.42")


EVERY = {
    "wan": named(wan.text_to_video, "cond", "uncond"),
    "wan-two-experts": Layout(
        wan.two_experts,
        {
            "transformer cond": 2,
            "transformer uncond": 2,
            "transformer_2 cond": 3,
            "transformer_2 uncond": 3,
        },
    ),
    "wan-image-to-video": named(wan.image_to_video, "cond", "uncond"),
    "wan-vace": named(wan.vace, "cond", "uncond", since="0.36"),
    "wan-video-to-video": unnamed(wan.video_to_video, 2, steps=3),
    "wan-modular": unnamed(modular.wan, 2, since="0.37"),
    "wan-modular-two-experts": Layout(
        modular.wan_two_experts,
        {
            "transformer branch 0": 1,
            "transformer branch 1": 1,
            "transformer_2 branch 0": 4,
            "transformer_2 branch 1": 4,
        },
        since="0.42",
    ),
    "wan-modular-skip-layer": third_branch(lambda: modular.wan(modular.without_layers())),
    "wan-modular-smoothed": third_branch(lambda: modular.wan(modular.smoothed())),
    "wan-modular-auto-guidance": unnamed(lambda: modular.wan(modular.by_a_worse_self()), 2, since="0.42"),
    "skyreels-v2": named(wan.skyreels, "cond", "uncond", since="0.38"),
    "flux": named(flux.true_guidance, "cond", "uncond"),
    "flux-distilled": named(flux.distilled, "cond"),
    "flux-image-to-image": unnamed(flux.image_to_image, 2, steps=4, since="0.40"),
    "flux-inpaint": unnamed(flux.inpaint, 2, steps=4, since="0.40"),
    "flux-kontext": unnamed(flux.kontext, 2),
    "flux-controlnet": unnamed(flux.with_controlnet, 2, since="0.40"),
    "flux2": unnamed(flux.flux2, 1, since="0.37"),
    "flux2-klein": named(flux.flux2_klein, "cond", "uncond", since="0.37"),
    "flux-modular": unnamed(modular.flux, 1, since="0.42"),
    "flux2-klein-modular": unnamed(modular.flux2_klein, 2, since="0.42"),
    "chroma": unnamed(flux.chroma, 2),
    "sd3": unnamed(image.sd3, 1),
    "sd3-skip-layer": Layout(image.sd3_skip_layer, {"transformer branch 0": 5, "transformer branch 1": 3}),
    "sd3-perturbed": unnamed(image.sd3_perturbed, 1),
    "sd3-modular": unnamed(modular.sd3, 2, since="0.42"),
    "sd3-controlnet": unnamed(image.sd3_controlnet, 1),
    "qwen": qwen(image.qwen),
    "qwen-modular": unnamed(modular.qwen, 2, since="0.42"),
    "qwen-modular-perturbed": third_branch(lambda: modular.qwen(modular.perturbed())),
    "qwen-edit": qwen(image.qwen_edit),
    "qwen-controlnet": qwen(image.qwen_controlnet, since="0.36"),
    "z-image": unnamed(image.z_image, 1, since="0.36"),
    "z-image-modular": unnamed(modular.z_image, 2, since="0.42"),
    "sana": unnamed(image.sana, 1),
    "sana-perturbed": unnamed(image.sana_perturbed, 1),
    "pixart-sigma": unnamed(image.pixart, 1),
    "pixart-sigma-perturbed": unnamed(image.pixart_perturbed, 1),
    "lumina2": unnamed(image.lumina2, 2),
    "hidream": unnamed(image.hidream, 1),
    "aura-flow": unnamed(image.aura_flow, 1),
    "cog-view4": named(image.cog_view4, "cond", "uncond"),
    "dit": unnamed(image.dit, 1),
    "cosmos": unnamed(video.cosmos, 2),
    "cosmos2-image": unnamed(image.cosmos_text_to_image, 2),
    "cog-video-x": named(cogvideox, "cond_uncond", steps=8),
    "cog-video-x-image-to-video": named(video.cog_video_x_image_to_video, "cond_uncond"),
    "ltx": named(video.ltx, "cond_uncond"),
    "ltx-modular": named(modular.ltx, "pred_cond", "pred_uncond", since="0.42"),
    "ltx2": named(guided.ltx2, "cond_uncond", "uncond_stg", "uncond_modality", since="0.40"),
    "hunyuan-video": named(video.hunyuan_video, "cond"),
    "hunyuan-video-15": named(guided.hunyuan_video_15, "pred_cond", "pred_uncond", since="0.36"),
    "mochi": named(video.mochi, "cond_uncond"),
    "allegro": unnamed(video.allegro, 1),
    "latte": unnamed(video.latte, 1),
    "kandinsky5": unnamed(video.kandinsky5, 2, since="0.36"),
    "stable-diffusion": batched_unet(unet.stable_diffusion),
    "stable-diffusion-perturbed": batched_unet(unet.stable_diffusion_perturbed),
    "stable-diffusion-xl": batched_unet(unet.stable_diffusion_xl),
    "animate-diff": batched_unet(unet.animate_diff),
    "stable-video-diffusion": batched_unet(unet.stable_video_diffusion),
}

PIPELINES = {name: layout for name, layout in EVERY.items() if layout.available}
