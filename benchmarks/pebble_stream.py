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
SHOWN = 9
"""How many frames of a video the sheet has, evenly from the first to the last."""


@dataclass(frozen=True)
class Settings:
    """How a video is made.

    Args:
        steps: of the solver, for each chunk.
        guidance: the scale of guidance.
        context: the level of the noise in what later chunks see of finished ones, 0 to 1.
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
        context_timestep=1000 * settings.context,
        context_noise=settings.context,
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


def measured(pairs: list[tuple[str, str]], made: Tensor, chunk: int) -> list[dict[str, Any]]:
    """A row for each video of a prompt and the background that it asks for."""
    return [row(prompt, asked, video, chunk) for (prompt, asked), video in zip(pairs, made, strict=True)]


def sheet(made: Tensor, target: Path) -> None:
    """Add a line for each video to a picture."""
    shown = made[:, np.linspace(0, made.shape[1] - 1, SHOWN).round().astype(int)]
    lines = (torch.cat([torch.cat(list(video), 1) for video in shown]) * 255).round().byte().numpy()
    if target.exists():
        lines = np.concatenate([np.asarray(Image.open(target).convert("RGB")), lines])
    Image.fromarray(lines).save(target, quality=75)


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = bundled.DEFAULTS[MODEL]
    parser.add_argument("--prompts", type=int, nargs="+", default=range(24), help="their numbers")
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--steps", type=int, nargs="+", default=[default["num_inference_steps"]])
    parser.add_argument("--guidance", type=float, nargs="+", default=[default["guidance_scale"]])
    parser.add_argument("--context", type=float, nargs="+", default=[0.1])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, help="JSON lines to add to, one a video and setting")
    parser.add_argument("--sheet", type=Path, help="a picture to add to, a line a video and setting")
    return parser.parse_args()


def main() -> None:
    asked = asked_for()
    pipe = skipstone.load(MODEL).to(asked.device)
    pipe.set_progress_bar_config(disable=True)
    every = [
        Settings(*values, asked.frames)
        for values in itertools.product(asked.steps, asked.guidance, asked.context)
    ]
    names = (bundled.parts(MODEL) / "objects.txt").read_text().splitlines()
    every_pair = plain_prompts(names, max(asked.prompts) + 1, moving=True)
    pairs, chunk = [every_pair[n] for n in asked.prompts], settings_of(pipe, {}).chunk
    assert all(colour in COLOURS for _, colour in pairs)
    for settings in every:
        start = time.perf_counter()
        made = videos(pipe, [prompt for prompt, _ in pairs], settings)
        seconds, rows = time.perf_counter() - start, measured(pairs, made, chunk)
        print(json.dumps({**asdict(settings), **summary(rows), "seconds": round(seconds, 1)}), flush=True)
        if asked.sheet:
            sheet(made, asked.sheet)
        if asked.rows:
            with asked.rows.open("a") as file:
                file.writelines(json.dumps({**asdict(settings), **one}) + "\n" for one in rows)


if __name__ == "__main__":
    main()
