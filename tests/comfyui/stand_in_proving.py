"""Trained proving models as ComfyUI would run them, with what their pipelines would be given."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from comfyui.stand_in import BaseModel, Guider, Patcher, Sampler, WrappedModel, condition
from comfyui.stand_in_models import Epsilon, Flow
from comfyui.stand_in_samplers import sample_euler
from torch import Tensor

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks" / "proving"), str(ROOT / "examples" / "training" / "train_pebble")]

from kinds import KINDS  # noqa: E402
from situations import Situation  # noqa: E402

SEED = 7


class ProvingSD3(WrappedModel):
    """An MMDiT of diffusers."""

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self.inner = pipe.transformer

    def _forward(
        self, x: Tensor, time: Tensor, context: Tensor, y: Tensor, transformer_options: Any, control: None
    ) -> Tensor:
        made: Tensor = self.inner(x, context, y, time, return_dict=False)[0]
        return made


class ProvingUNet(WrappedModel):
    """A UNet of diffusers."""

    def __init__(self, pipe: Any) -> None:
        super().__init__()
        self.inner = pipe.unet

    def _forward(
        self, x: Tensor, time: Tensor, context: Tensor, transformer_options: Any, control: None
    ) -> Tensor:
        made: Tensor = self.inner(x, time, context, return_dict=False)[0]
        return made


class OfSchedule(Epsilon):
    """Times are looked up in the schedule of a pipeline's scheduler.

    Args:
        scheduler: with the run's steps.
    """

    sigma_max = math.inf
    """The pipeline scales its first noise by the first level, as for a run that begins with a picture."""

    def __init__(self, scheduler: Any) -> None:
        self._sigmas, self._times = scheduler.sigmas, scheduler.timesteps

    def timestep(self, sigma: Tensor) -> Tensor:
        return self._times[(self._sigmas[:-1, None] - sigma).abs().argmin(0)]


@dataclass
class Proving:
    """One model, run by its pipeline and by the stand-in with the same noise.

    Args:
        situation: model, solver and steps.
    """

    situation: Situation
    CLASSES: ClassVar[Mapping[str, Any]] = {"sd3": ProvingSD3, "unet-epsilon": ProvingUNet}

    def __post_init__(self) -> None:
        self.pipe = self.situation.pipeline("cpu")
        self.pipe.scheduler.set_timesteps(self.situation.steps)
        is_flow = self.situation.model == "sd3"
        sampling = Flow() if is_flow else OfSchedule(self.pipe.scheduler)
        self.patcher = Patcher(BaseModel(self.CLASSES[self.situation.model](self.pipe), sampling))
        self.sigmas = self.pipe.scheduler.sigmas.clone()

    def call(self, prompt: str, seed: int = SEED) -> dict[str, Any]:
        """The arguments of the pipeline's call for latents."""
        generator = torch.Generator().manual_seed(seed)
        return {**self.situation.call(), "output_type": "latent", "prompt": prompt, "generator": generator}

    def by_pipeline(self, prompt: str) -> Tensor:
        """The pipeline's latents."""
        made: Tensor = self.pipe(**self.call(prompt))[0]
        return made

    def by_sampler(self, patcher: Patcher, prompt: str, seed: int = SEED) -> Tensor:
        """The sampler's latents with a patcher of this model."""
        kind = KINDS[self.situation.model]
        names = ("context", "y")
        given = [dict(zip(names, kind.condition(self.pipe, [text]), strict=False)) for text in (prompt, "")]
        positive, negative = ([condition(**one)] for one in given)
        guider = Guider(patcher, positive, negative, self.situation.call()["guidance_scale"])
        noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(seed))
        return guider.sample(noise, Sampler(sample_euler), self.sigmas)

    def picture(self, latents: Tensor) -> Tensor:
        """The picture of some latents, from 0 to 1."""
        vae = self.pipe.vae
        shift = vae.config.shift_factor if self.situation.model == "sd3" else 0.0
        made: Tensor = vae.decode(latents / vae.config.scaling_factor + shift, return_dict=False)[0]
        return (made / 2 + 0.5).clamp(0, 1)


def psnr(made: Tensor, wanted: Tensor) -> float:
    """Of pictures from 0 to 1, in dB."""
    return float(-10 * (made - wanted).double().square().mean().log10())
