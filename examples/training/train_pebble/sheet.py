"""Draw a contact sheet: a row of frames per prompt for clips, a picture per prompt for stills."""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline, WanPipeline
from PIL import Image

VIDEO_PROMPTS = (
    "a red apple bounces on a blue background",
    "a cat face spins on a yellow background",
    "a red car slides left on a white background",
    "a rocket slides right on a black background",
    "a pizza slice rolling on a teal background",
    "a panda face grows on a pink background",
    "a pink background with a penguin shrinking",
    "a yellow star orbiting on a purple background",
    "a soccer ball falls on a green background",
    "a bell shakes on an orange to blue gradient background",
    "a butterfly bounces on a striped red and white background",
    "a cat face spins and a red car slides left on a green background",
)
IMAGE_PROMPTS = (
    "a red apple on a blue background",
    "a cat face on a yellow background",
    "a red car on a white background",
    "a rocket on a black background",
    "a pizza slice on a teal background",
    "a panda face on a pink background",
    "a purple background with a penguin",
    "a yellow star on a purple background",
    "a soccer ball on a checkered green and white background",
    "a bell on an orange to blue gradient background",
    "a butterfly bounces on a striped red and white background",
    "a cat face and a red car on a green background",
)


def video_rows(folder: Path, device: str, guidance: float) -> np.ndarray:
    """Every fourth frame of each prompt's clip, in a row."""
    pipeline = WanPipeline.from_pretrained(str(folder), local_files_only=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    clips = pipeline(
        list(VIDEO_PROMPTS),
        height=128,
        width=128,
        num_frames=33,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(0),
    ).frames
    return clips[:, ::4].transpose(0, 2, 1, 3, 4).reshape(len(clips) * 128, -1, 3)


def image_rows(folder: Path, device: str, guidance: float) -> np.ndarray:
    """The prompts' pictures, four in a row."""
    pipeline = FluxPipeline.from_pretrained(str(folder), local_files_only=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline(
        list(IMAGE_PROMPTS),
        negative_prompt=[""] * len(IMAGE_PROMPTS),
        true_cfg_scale=guidance,
        height=128,
        width=128,
        output_type="np",
        generator=torch.Generator().manual_seed(0),
    ).images
    return pictures.reshape(3, 4, 128, 128, 3).transpose(0, 2, 1, 3, 4).reshape(3 * 128, -1, 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("video", "image"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--guidance", type=float, default=4.0)
    arguments = parser.parse_args()
    rows = (video_rows if arguments.kind == "video" else image_rows)(
        arguments.folder, arguments.device, arguments.guidance
    )
    Image.fromarray((rows * 255).round().astype(np.uint8)).save(arguments.target)
