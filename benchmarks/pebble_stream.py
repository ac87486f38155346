"""Measure pebble-stream on long videos: the background asked for, sharpness and motion from first to last."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import skipstone
from pebble import COLOURS, border_colour, plain_prompts

sys.path.append(str(Path(__file__).parents[1] / "examples/training/train_pebble"))

TENTHS = 10
SHOWN = (0, 5, 10, 15, 192, 197, 202, 207, 380, 385, 390, 395)
"""The frames of the sheet: from the first on, in the middle and at the end."""

SHEET_PROMPTS = (
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


@dataclass(frozen=True)
class Settings:
    """How a video is made.

    Args:
        steps: of the solver, for each chunk.
        guidance: the scale of guidance.
        context: the level of the noise that is added to a chunk that is committed, 0 to 1.
        frames: of the video.
        chunk: latent frames of a chunk.
        window: how many the window holds.
        sink: how many first ones it never drops.
    """

    steps: int = 20
    guidance: float = 3.0
    context: float = 0.0
    frames: int = 400
    chunk: int = 3
    window: int = 12
    sink: int = 3

    @property
    def chunks(self) -> int:
        latents = 1 + -(-(self.frames - 1) // 4)
        return -(-latents // self.chunk)


def pipeline(video: Path, transformer: Path, device: str) -> Any:
    """The bundled video model's pipeline with the causal transformer."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanPipeline,
        WanTransformer3DModel,
    )
    from transformers import AutoTokenizer, UMT5EncoderModel
    from weights import restore

    model = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(video / "transformer"))
    restore({"transformer": model}, transformer)
    return WanPipeline(
        tokenizer=AutoTokenizer.from_pretrained(video / "tokenizer"),
        text_encoder=UMT5EncoderModel.from_pretrained(video / "text_encoder"),
        vae=AutoencoderKLWan.from_pretrained(video / "vae"),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(video / "scheduler"),
        transformer=model.eval(),
    ).to(device)


@torch.no_grad()
def latents(pipe: Any, prompts: list[str], settings: Settings, seed: int) -> Tensor:
    """The latents of many videos at once, ``(prompt, channels, time, height, width)``."""
    device, count = pipe.transformer.device, len(prompts)
    text, negative = pipe.encode_prompt(prompts, negative_prompt=[""] * count, max_sequence_length=512)
    text = torch.cat([text, negative])
    generator, made = torch.Generator(device).manual_seed(seed), []
    shape = (count, pipe.transformer.config.in_channels, settings.chunk, 32, 32)
    with skipstone.block_causal(pipe.transformer, settings.window, settings.sink) as prefix:
        for _ in range(settings.chunks):
            chunk = torch.randn(shape, device=device, generator=generator)
            chunk = denoised(pipe, chunk, text, settings)
            made.append(chunk)
            noise = torch.randn(shape, device=device, generator=generator)
            seen = chunk + settings.context * (noise - chunk)
            prefix.commit(torch.cat([seen, seen]), 1000 * settings.context, text)
    return torch.cat(made, 2)


def denoised(pipe: Any, chunk: Tensor, text: Tensor, settings: Settings) -> Tensor:
    """A chunk by the scheduler's steps with guidance."""
    pipe.scheduler.set_timesteps(settings.steps, device=chunk.device)
    for t in pipe.scheduler.timesteps:
        both = pipe.transformer(torch.cat([chunk, chunk]), t.expand(len(text)), text, return_dict=False)[0]
        asked, free = both.chunk(2)
        velocity = free + settings.guidance * (asked - free)
        chunk = pipe.scheduler.step(velocity, t, chunk, return_dict=False)[0]
    return chunk


@torch.no_grad()
def videos(pipe: Any, made: Tensor, frames: int, at_once: int = 8) -> Iterator[Tensor]:
    """The videos one by one, ``(frames, height, width, 3)`` in [0, 1]."""
    mean, std = (
        torch.tensor(values, device=made.device).view(1, -1, 1, 1, 1)
        for values in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std)
    )
    for part in made.split(at_once):
        decoded = pipe.vae.decode(part * std + mean, return_dict=False)[0]
        yield from ((decoded[:, :, :frames].float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 4, 1)


def borders(chunk: int, frames: int) -> list[slice]:
    """The frames of each chunk: its first latent is one frame, every other one four."""
    starts = [0, *range(4 * chunk - 3, frames, 4 * chunk), frames]
    return [slice(*pair) for pair in pairwise(starts)]


def energies(video: Tensor) -> dict[str, list[float]]:
    """The energy of the differences in space and in time, for each tenth of the frames."""
    space = (video[:, 1:] - video[:, :-1]).square().mean((1, 2, 3)) + (
        video[:, :, 1:] - video[:, :, :-1]
    ).square().mean((1, 2, 3))
    moved = (video[1:] - video[:-1]).square().mean((1, 2, 3))
    return {
        "gradient": [part.mean().item() for part in space.tensor_split(TENTHS)],
        "motion": [part.mean().item() for part in moved.tensor_split(TENTHS)],
    }


def row(prompt: str, asked: str, video: Tensor, settings: Settings) -> dict[str, Any]:
    """What is measured of one video."""
    pictures = video.cpu().numpy()
    found = [border_colour(pictures[part]) for part in borders(settings.chunk, settings.frames)]
    return {"prompt": prompt, "asked": asked, "backgrounds": found, **energies(video)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows in a few numbers; ratios are of the last tenth to the first."""
    right = np.array([[got == one["asked"] for got in one["backgrounds"]] for one in rows])
    gradient, motion = (np.array([one[key] for one in rows]) for key in ("gradient", "motion"))
    ratios = gradient[:, -1] / gradient[:, 0]
    return {
        "background_share": right.mean().item(),
        "background_share_of_the_last_ten_chunks": right[:, -10:].mean().item(),
        "videos_right_throughout": right.all(1).mean().item(),
        "gradient_ratio": (gradient[:, -1].sum() / gradient[:, 0].sum()).item(),
        "gradient_ratio_median": float(np.median(ratios)),
        "gradient_ratio_least": ratios.min().item(),
        "motion_ratio": (motion[:, -1].sum() / motion[:, 0].sum()).item(),
        "gradient_by_tenth": [round(value, 5) for value in gradient.mean(0).tolist()],
        "motion_by_tenth": [round(value, 5) for value in motion.mean(0).tolist()],
    }


def measured(pipe: Any, names: list[str], count: int, settings: Settings) -> list[dict[str, Any]]:
    """A row for each of some prompts of one object on a plain background."""
    pairs = plain_prompts(names, count, moving=True)
    assert all(colour in COLOURS for _, colour in pairs)
    made = latents(pipe, [prompt for prompt, _ in pairs], settings, seed=0)
    found = videos(pipe, made, settings.frames)
    return [row(prompt, asked, video, settings) for (prompt, asked), video in zip(pairs, found, strict=True)]


def sheet(pipe: Any, settings: Settings, target: Path) -> None:
    """Write a picture: each row a prompt, each column one of `SHOWN`."""
    made = latents(pipe, list(SHEET_PROMPTS), settings, seed=0)
    shown = [frame for frame in SHOWN if frame < settings.frames]
    rows = [
        torch.cat(video[shown].unbind(0), 1).cpu().numpy() for video in videos(pipe, made, settings.frames)
    ]
    Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8)).save(target, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    bundled = Path("pebble/skipstone_pebble")
    parser.add_argument("--transformer", type=Path, default=bundled / "pebble-stream/transformer.safetensors")
    parser.add_argument("--video", type=Path, default=bundled / "pebble-video")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0])
    parser.add_argument("--context", type=float, nargs="+", default=[0.0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, help="JSON lines, one a video and setting")
    parser.add_argument("--sheet", type=Path, help="a picture, made with the first setting")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    pipe = pipeline(arguments.video, arguments.transformer, arguments.device)
    names = (arguments.video / "objects.txt").read_text().splitlines()
    every = [
        Settings(steps, guidance, context, arguments.frames)
        for steps in arguments.steps
        for guidance in arguments.guidance
        for context in arguments.context
    ]
    if arguments.sheet:
        sheet(pipe, every[0], arguments.sheet)
    for settings in every:
        start = time.perf_counter()
        rows = measured(pipe, names, arguments.count, settings)
        seconds = time.perf_counter() - start
        print(json.dumps({**asdict(settings), **summary(rows), "seconds": round(seconds, 1)}), flush=True)
        if arguments.rows:
            with arguments.rows.open("a") as file:
                file.writelines(json.dumps({**asdict(settings), **one}) + "\n" for one in rows)


if __name__ == "__main__":
    main()
