"""Train the image transformer together with its two text encoders for a given time."""

import argparse
import random
from pathlib import Path

import torch
from captions import Scene, image_caption, video_caption
from conditioning import CLIP_TOKENS, PADDED_TOKENS, flux_conditioning, prepare_encoder, tokenize
from diffusers import FluxPipeline
from flow import draw_sigmas, noised
from latents import Encode, Studio, Tokenize
from loop import Loss, Trainer, prepare, settings
from models import IMAGE_SHIFT, clip_text_encoder, image_text_encoder, image_transformer
from motions import STILL
from restoring import load_image_autoencoder
from scenes import load_atlas
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

STYLES = (image_caption, image_caption, video_caption)  # a still may be asked for in the words of a clip
GRID = 16


def encoder_of(folder: Path, device: torch.device) -> Encode:
    """Stills to whitened latents, packed two by two."""
    autoencoder = load_image_autoencoder(folder).to(device)
    scale, shift = autoencoder.config.scaling_factor, autoencoder.config.shift_factor

    def encode(stills: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            latents = (autoencoder.encode(stills[:, :, 0]).latent_dist.mode().float() - shift) * scale
        return FluxPipeline._pack_latents(latents, *latents.shape)

    return encode


def tokenizer_of(t5: PreTrainedTokenizerBase, clip: PreTrainedTokenizerBase, seed: int) -> Tokenize:
    """Scenes to the ids of a few phrasings each, by both tokenizers."""
    chooser = random.Random(seed)

    def ids_of(scenes: list[Scene]) -> tuple[torch.Tensor, ...]:
        captions = [style(scene, chooser) for scene in scenes for style in STYLES]
        both = tokenize(t5, captions), tokenize(clip, captions, CLIP_TOKENS)
        return tuple(ids.unflatten(0, (-1, len(STYLES))) for ids in both)

    return ids_of


def loss_with(modules: dict[str, nn.Module], device: torch.device) -> Loss:
    """Mean squared error of the predicted velocity."""
    places = FluxPipeline._prepare_latent_image_ids(1, GRID, GRID, device, torch.float32)

    def loss_of(columns: list[torch.Tensor]) -> torch.Tensor:
        latents, t5_ids, clip_ids = columns
        sigmas = draw_sigmas(len(latents), IMAGE_SHIFT, device)
        mixed, velocity = noised(latents.float(), sigmas)
        text, pooled = flux_conditioning(modules["text_encoder_2"], modules["text_encoder"], t5_ids, clip_ids)
        predicted = modules["transformer"](
            hidden_states=mixed,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=sigmas,
            img_ids=places,
            txt_ids=torch.zeros(PADDED_TOKENS, 3, device=device),
            return_dict=False,
        )[0]
        return (predicted.float() - velocity).pow(2).mean()

    return loss_of


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    atlas, names = load_atlas(arguments.atlas, device)
    clip = AutoTokenizer.from_pretrained(arguments.tokenizers / "pebble-image/tokenizer")
    t5 = AutoTokenizer.from_pretrained(arguments.tokenizers / "pebble-image/tokenizer_2")
    networks = {
        "transformer": image_transformer(),
        "text_encoder": clip_text_encoder(len(clip), clip.bos_token_id, clip.eos_token_id),
        "text_encoder_2": image_text_encoder(len(t5)),
    }
    modules = prepare("image", networks, arguments)
    for name in ("text_encoder", "text_encoder_2"):
        prepare_encoder(modules[name])
    studio = Studio(
        atlas=atlas,
        names=names,
        encode=encoder_of(arguments.autoencoders, device),
        tokenize=tokenizer_of(t5, clip, arguments.seed),
        generator=torch.Generator(device).manual_seed(arguments.seed),
        dance=STILL,
        frames=1,
    )
    empty = [tokenize(t5, [""]).to(device), tokenize(clip, [""], CLIP_TOKENS).to(device)]
    Trainer("image", modules, arguments).run(studio, empty, loss_with(modules, device))


if __name__ == "__main__":
    train(settings(__doc__, batch=128, rate=1e-3, pool=32768))
