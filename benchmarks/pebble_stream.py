"""Measure pebble-stream on long videos: the background asked for, sharpness and motion from first to last."""

import argparse
import itertools
import json
import time
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
from skipstone.pipelines import bundled
from skipstone.pipelines.causal.settings import settings_of

MODEL = "pebble-stream"

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
        context: the time that finished chunks are seen at.
        frames: of the video.
    """

    steps: int
    guidance: float
    context: float
    frames: int


def videos(pipe: Any, prompts: list[str], settings: Settings) -> Tensor:
    """A video of each prompt, ``(prompt, frames, height, width, 3)`` in [0, 1]."""
    pieces = skipstone.stream(
        pipe,
        prompts,
        settings.frames,
        steps=settings.steps,
        guidance_scale=settings.guidance,
        context_timestep=settings.context,
        generator=torch.Generator().manual_seed(0),
    )
    made = torch.cat([piece.float().cpu() for piece in pieces], 2)
    return ((made + 1) / 2).clamp(0, 1).permute(0, 2, 3, 4, 1)


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


def row(prompt: str, asked: str, video: Tensor, chunk: int) -> dict[str, Any]:
    """What is measured of one video, made in chunks of so many latent frames."""
    found = [border_colour(video[part].numpy()) for part in borders(chunk, len(video))]
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
    pairs, chunk = plain_prompts(names, count, moving=True), settings_of(pipe, {}).chunk
    assert all(colour in COLOURS for _, colour in pairs)
    made = videos(pipe, [prompt for prompt, _ in pairs], settings)
    return [row(prompt, asked, video, chunk) for (prompt, asked), video in zip(pairs, made, strict=True)]


def sheet(pipe: Any, settings: Settings, target: Path) -> None:
    """Write a picture: each row a prompt, each column one of `SHOWN`."""
    shown = [frame for frame in SHOWN if frame < settings.frames]
    made = videos(pipe, list(SHEET_PROMPTS), settings)[:, shown]
    rows = [torch.cat(video.unbind(0), 1).numpy() for video in made]
    Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8)).save(target, quality=75)


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = bundled.DEFAULTS[MODEL]
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--steps", type=int, nargs="+", default=[default["num_inference_steps"]])
    parser.add_argument("--guidance", type=float, nargs="+", default=[default["guidance_scale"]])
    parser.add_argument("--context", type=float, nargs="+", default=[0.0], help="of 1000")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, help="JSON lines to add to, one a video and setting")
    parser.add_argument("--sheet", type=Path, help="a picture, made with the first setting, and no rows")
    return parser.parse_args()


def main() -> None:
    asked = asked_for()
    pipe = skipstone.load(MODEL).to(asked.device)
    pipe.set_progress_bar_config(disable=True)
    every = [
        Settings(*values, asked.frames)
        for values in itertools.product(asked.steps, asked.guidance, asked.context)
    ]
    if asked.sheet:
        sheet(pipe, every[0], asked.sheet)
        return
    names = (bundled.parts(MODEL) / "objects.txt").read_text().splitlines()
    for settings in every:
        start = time.perf_counter()
        rows = measured(pipe, names, asked.count, settings)
        seconds = time.perf_counter() - start
        print(json.dumps({**asdict(settings), **summary(rows), "seconds": round(seconds, 1)}), flush=True)
        if asked.rows:
            with asked.rows.open("a") as file:
                file.writelines(json.dumps({**asdict(settings), **one}) + "\n" for one in rows)


if __name__ == "__main__":
    main()
