"""What the proving models share: autoencoders, text encoders and tokenizers of the bundled models."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5EncoderModel,
    UMT5EncoderModel,
)

from skipstone.pipelines import bundled

SIDE = 64
FRAMES = 17
CAPTION_TOKENS = 32


@dataclass(frozen=True)
class StillParts:
    """Of the bundled image pipeline."""

    vae: AutoencoderKL
    clip: CLIPTextModel
    clip_tokenizer: Any
    t5: T5EncoderModel
    t5_tokenizer: Any


@dataclass(frozen=True)
class ClipParts:
    """Of the bundled video pipeline."""

    vae: AutoencoderKLWan
    t5: UMT5EncoderModel
    t5_tokenizer: Any


@cache
def still_parts() -> StillParts:
    """The bundled image pipeline without its transformer."""
    folder = bundled.folder("pebble-image")
    return StillParts(
        AutoencoderKL.from_pretrained(folder / "vae"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
        T5EncoderModel.from_pretrained(folder / "text_encoder_2"),
        AutoTokenizer.from_pretrained(folder / "tokenizer_2"),
    )


@cache
def clip_parts() -> ClipParts:
    """The bundled video pipeline without its transformer."""
    folder = bundled.folder("pebble-video")
    return ClipParts(
        AutoencoderKLWan.from_pretrained(folder / "vae"),
        UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )


def projecting(encoder: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The encoder with a projection that changes nothing."""
    made = CLIPTextModelWithProjection(encoder.config)
    weights = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    made.text_model.load_state_dict(weights)
    with torch.no_grad():
        made.text_projection.weight.copy_(torch.eye(encoder.config.hidden_size))
    return made.eval()
