"""Train the video transformer together with its text encoder for a given time."""

import argparse
import random

import torch
from captions import Scene, video_caption
from conditioning import prepare_encoder, tokenize, wan_conditioning, weigh_stand_ins
from diffusers import AutoencoderKLWan
from flow import draw_sigmas, noised
from latents import Encode, Studio, Tokenize
from loop import Loss, Trainer, prepare, settings
from models import VIDEO_SHIFT, video_text_encoder, video_transformer
from motions import CLIP
from restoring import load_video_autoencoder
from scenes import FRAMES, load_atlas
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from whole_clip import WholeClip

PHRASINGS = 3


def encoder_of(autoencoder: AutoencoderKLWan, device: torch.device) -> Encode:
    """Clips to whitened latents."""
    coder = WholeClip(autoencoder.to(device), torch.bfloat16)
    mean = torch.tensor(autoencoder.config.latents_mean, device=device).view(1, -1, 1, 1, 1)
    std = torch.tensor(autoencoder.config.latents_std, device=device).view(1, -1, 1, 1, 1)

    def encode(clips: torch.Tensor) -> torch.Tensor:
        return (coder.encode(clips).mode().float() - mean) / std

    return encode


def tokenizer_of(tokenizer: PreTrainedTokenizerBase, seed: int) -> Tokenize:
    """Scenes to the token ids of a few phrasings each."""
    chooser = random.Random(seed)

    def ids_of(scenes: list[Scene]) -> tuple[torch.Tensor, ...]:
        captions = [video_caption(scene, chooser) for scene in scenes for _ in range(PHRASINGS)]
        return (tokenize(tokenizer, captions).unflatten(0, (-1, PHRASINGS)),)

    return ids_of


def loss_with(modules: dict[str, nn.Module]) -> Loss:
    """Mean squared error of the predicted velocity."""

    def loss_of(columns: list[torch.Tensor]) -> torch.Tensor:
        latents, ids = columns
        sigmas = draw_sigmas(len(latents), VIDEO_SHIFT, latents.device)
        mixed, velocity = noised(latents.float(), sigmas)
        states = wan_conditioning(modules["text_encoder"], ids)
        predicted = modules["transformer"](mixed, sigmas * 1000, states, return_dict=False)[0]
        return (predicted.float() - velocity).pow(2).mean()

    return loss_of


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    atlas, names = load_atlas(arguments.atlas, device)
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizers / "pebble-video/tokenizer")
    networks = {"transformer": video_transformer(), "text_encoder": video_text_encoder(len(tokenizer))}
    modules = prepare("video", networks, arguments)
    prepare_encoder(modules["text_encoder"])
    weigh_stand_ins(modules["transformer"])
    studio = Studio(
        atlas=atlas,
        names=names,
        encode=encoder_of(load_video_autoencoder(arguments.autoencoders), device),
        tokenize=tokenizer_of(tokenizer, arguments.seed),
        generator=torch.Generator(device).manual_seed(arguments.seed),
        dance=CLIP,
        frames=FRAMES,
    )
    Trainer("video", modules, arguments).run(
        studio, [tokenize(tokenizer, [""]).to(device)], loss_with(modules)
    )


if __name__ == "__main__":
    train(settings(__doc__, batch=96, rate=7e-4, pool=6144))
