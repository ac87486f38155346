"""The parts that tiny pipelines are made of."""

import inspect
from dataclasses import replace
from typing import Any

import diffusers as d
import torch
from PIL import Image
from torch import Tensor, nn

from support.tiny import Tiny
from support.zoo import ZOO, randomised


def made(cls: type[Any], components: dict[str, Any], **kwargs: Any) -> Tiny:
    """A pipeline with these components and none of the others, and the arguments of a short run."""
    required = {
        name: None for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.default is parameter.empty and name != "self"
    }  # fmt: skip
    pipe = cls(**{**required, **components})
    pipe.set_progress_bar_config(disable=True)
    return Tiny(pipe, {"num_inference_steps": 5, **kwargs})


def perturbed(plain: Tiny, cls: type[Any], layers: str) -> Tiny:
    """The same with perturbed attention in some layers: three branches in one batch."""
    parts = {name: part for name, part in plain.pipe.components.items() if part is not None}
    return made(cls, {**parts, "pag_applied_layers": layers}, **{**plain.kwargs, "pag_scale": 2.0})


def transformer(species: str, **config: Any) -> nn.Module:
    """A model of the zoo with some of its configuration changed."""
    known = ZOO[species]
    return replace(known, config={**known.config, **config}).model()


def controlnet(cls: type[Any], **config: Any) -> nn.Module:
    return randomised(cls(**config))


def flow() -> Any:
    return d.FlowMatchEulerDiscreteScheduler()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pair(name: str, *shape: int) -> dict[str, Tensor]:
    """Two different prompts of one shape: ``name`` and ``negative_name``."""
    return {name: noise(*shape), f"negative_{name}": noise(*shape, seed=1)}


def masks(name: str, *shape: int) -> dict[str, Tensor]:
    """Masks that hide nothing, for a prompt and its negative."""
    ones = torch.ones(*shape, dtype=torch.bool)
    return {name: ones, f"negative_{name}": ones.clone()}


def picture(size: int = 32) -> Tensor:
    """An image, ``(1, 3, size, size)``, between 0 and 1."""
    return noise(1, 3, size, size, seed=2).sigmoid()


def photo(size: int = 32) -> Image.Image:
    """The same as a PIL image, for the pipelines that take no tensor."""
    return Image.fromarray((picture(size)[0].permute(1, 2, 0) * 255).byte().numpy())


def image_vae(**config: Any) -> nn.Module:
    """Its latents are as large as the image."""
    settings = {"latent_channels": 4, "norm_num_groups": 2, "shift_factor": 0.0, **config}
    return d.AutoencoderKL(block_out_channels=(4,), **settings).eval()


def wan_vae(cls: type[Any] = d.AutoencoderKLWan) -> nn.Module:
    """Its latents are eight times smaller than the video."""
    return cls(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).eval()  # fmt: skip


class Unchecked:
    """Stands in for the safety checker of Cosmos, whose package needs downloads."""

    def to(self, device: Any) -> "Unchecked":
        return self
