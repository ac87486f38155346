"""Measure a bundled pebble through its public diffusers pipeline: colours drawn, spread, speed."""

import argparse
import json
import platform
import random
import time
from itertools import combinations
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DiffusionPipeline, FluxPipeline, WanPipeline

COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 140, 20),
    "yellow": (250, 222, 60),
    "green": (50, 160, 70),
    "blue": (40, 90, 210),
    "purple": (130, 50, 170),
    "pink": (250, 150, 190),
    "brown": (115, 70, 35),
    "black": (16, 16, 18),
    "white": (250, 250, 250),
    "gray": (135, 135, 138),
    "teal": (20, 160, 165),
}
MOTIONS = (
    "bounces",
    "slides left",
    "slides right",
    "spins",
    "rolls",
    "grows",
    "shrinks",
    "orbits",
    "falls",
    "shakes",
)
SIDE, FRAMES, VIDEO_STEPS, IMAGE_STEPS = 128, 33, 50, 28


def load(kind: str, folder: Path, device: str) -> DiffusionPipeline:
    """The pipeline in float32, quiet."""
    loader = WanPipeline if kind == "video" else FluxPipeline
    pipeline = loader.from_pretrained(str(folder), local_files_only=True).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: DiffusionPipeline, prompts: list[str], seeds: list[int], guidance: float) -> np.ndarray:
    """Pictures in [0, 1], shape (prompt, frame, height, width, 3), through the public call."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shared = {"prompt": prompts, "height": SIDE, "width": SIDE, "generator": generators, "output_type": "np"}
    if isinstance(pipeline, WanPipeline):
        return pipeline(
            **shared, num_frames=FRAMES, num_inference_steps=VIDEO_STEPS, guidance_scale=guidance
        ).frames
    images = pipeline(
        **shared,
        negative_prompt=[""] * len(prompts),
        true_cfg_scale=guidance,
        num_inference_steps=IMAGE_STEPS,
    ).images
    return images[:, None]


def plain_prompts(names: list[str], count: int, moving: bool) -> list[tuple[str, str]]:
    """Captions of one object on a plain background, with the colour asked for."""
    chooser, colours, prompts = random.Random(7), list(COLOURS), []
    for index in range(count):
        name, colour = chooser.choice(names), colours[index % len(colours)]
        motion = f" {chooser.choice(MOTIONS)}" if moving else ""
        first, ground = ("an" if word[0] in "aeiou" else "a" for word in (name, colour))
        prompts.append((f"{first} {name}{motion} on {ground} {colour} background", colour))
    return prompts


def border_colour(frames: np.ndarray, width: int = 4) -> str:
    """The palette name nearest to the median colour of the border over all frames."""
    inside = np.zeros(frames.shape[1:3], bool)
    inside[width:-width, width:-width] = True
    median = np.median(frames[:, ~inside].reshape(-1, 3), axis=0) * 255
    return min(COLOURS, key=lambda name: float(np.sum((median - COLOURS[name]) ** 2)))


def colour_share(
    pipeline: DiffusionPipeline, names: list[str], count: int, guidance: float
) -> dict[str, object]:
    """How often the drawn background is the one asked for."""
    wanted = plain_prompts(names, count, isinstance(pipeline, WanPipeline))
    misses = []
    for start in range(0, count, 25):
        part = wanted[start : start + 25]
        seeds = list(range(start, start + len(part)))
        frames = draw(pipeline, [prompt for prompt, _ in part], seeds, guidance)
        for (prompt, asked), clip in zip(part, frames, strict=True):
            if (got := border_colour(clip)) != asked:
                misses.append(f"{prompt}: {got}")
    return {"prompts": count, "background_share": 1 - len(misses) / count, "background_misses": misses}


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


def spread(pipeline: DiffusionPipeline, names: list[str], guidance: float) -> dict[str, float]:
    """PSNR between the pictures of different captions from one seed."""
    prompts = [prompt for prompt, _ in plain_prompts(names, 12, isinstance(pipeline, WanPipeline))]
    frames = draw(pipeline, prompts, [0] * len(prompts), guidance)
    values = [psnr(a, b) for a, b in combinations(frames, 2)]
    return {"caption_psnr_mean": float(np.mean(values)), "caption_psnr_max": max(values)}


def wall_time(pipeline: DiffusionPipeline, guidance: float) -> dict[str, float]:
    """Seconds for one guided picture or clip, decoding included."""
    start = time.perf_counter()
    draw(pipeline, ["a red apple bounces on a blue background"], [0], guidance)
    return {"seconds": time.perf_counter() - start, "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    packages = {"torch": torch, "diffusers": diffusers, "transformers": transformers}
    found = {name: package.__version__ for name, package in packages.items()}
    return {**found, "python": platform.python_version()}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """The asked measurements of one model."""
    pipeline = load(arguments.kind, arguments.folder, arguments.device)
    names = (arguments.objects or arguments.folder / "objects.txt").read_text().splitlines()
    report: dict[str, object] = {key: getattr(arguments, key) for key in ("kind", "device", "guidance")}
    if "text" in arguments.parts:
        report |= colour_share(pipeline, names, arguments.count, arguments.guidance)
        report |= spread(pipeline, names, arguments.guidance)
    if "speed" in arguments.parts:
        report |= wall_time(pipeline, arguments.guidance)
    return report | {"versions": versions()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("video", "image"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", type=Path, help="one name a line (default: FOLDER/objects.txt)")
    parser.add_argument("--parts", nargs="+", choices=("text", "speed"), default=("text", "speed"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--device", default="cpu")
    print(json.dumps(measure(parser.parse_args()), indent=2))
