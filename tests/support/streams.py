"""Streams of a tiny causal Wan model."""

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

import skipstone
from support.tiny import wan

TINY = wan().kwargs
TEXTS = {name: TINY[name] for name in ("prompt_embeds", "negative_prompt_embeds")}
CAUSAL = {"chunk": 2, "window": 4, "sink": 1}
SIZE = {"height": 32, "width": 32, "guidance_scale": 4.0}


def stream(pipe: Any, frames: int = 22, **others: Any) -> Generator[Tensor, None, None]:
    """Frames of a tiny model: 22 of them are 7 latent frames, so the last of 4 chunks is cut."""
    generator = torch.Generator().manual_seed(0)
    given = {**TEXTS, **CAUSAL, **SIZE, "steps": 2, "generator": generator, **others}
    return skipstone.stream(pipe, frames=frames, **given)


def video(pipe: Any, **others: Any) -> Tensor:
    return torch.cat(list(stream(pipe, **others)), dim=2)


def footprint(pipe: Any) -> Any:
    # diffusers keeps one when a branch is named for the first time.
    own = {"_diffusers_hook"}
    modules = [*pipe.transformer.modules(), *pipe.vae.modules()]
    parts = [(type(module), sorted(vars(module).keys() - own)) for module in modules]
    processors = [type(block.attn1.processor) for block in pipe.transformer.blocks]
    return type(pipe), parts, processors, type(pipe.scheduler).step, type(pipe.transformer.rope)
