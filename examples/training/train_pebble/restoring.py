"""Read checkpoints back into networks."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from models import image_autoencoder, video_autoencoder
from safetensors.torch import load_file
from torch import nn


def load_parts(modules: dict[str, nn.Module], stem: Path) -> None:
    """Fill the modules from STEM-0.safetensors, STEM-1.safetensors, ..."""
    tensors: dict[str, torch.Tensor] = {}
    for part in sorted(stem.parent.glob(f"{stem.name}-[0-9].safetensors")):
        tensors |= load_file(part)
    for name, module in modules.items():
        prefix = f"{name}/"
        module.load_state_dict(
            {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        )


def load_video_autoencoder(folder: Path) -> AutoencoderKLWan:
    """The trained video autoencoder with its latent statistics in its config."""
    model, report = video_autoencoder(), json.loads((folder / "video-vae.json").read_text())
    load_parts({"vae": model}, folder / "video-vae")
    model.register_to_config(latents_mean=report["mean"], latents_std=report["std"])
    return model.eval().requires_grad_(False)


def load_image_autoencoder(folder: Path) -> AutoencoderKL:
    """The trained image autoencoder with its latent statistics in its config."""
    model, report = image_autoencoder(), json.loads((folder / "image-vae.json").read_text())
    load_parts({"vae": model}, folder / "image-vae")
    model.register_to_config(scaling_factor=1 / report["overall_std"], shift_factor=report["overall_mean"])
    return model.eval().requires_grad_(False)
