"""Sweep the settings of caching methods on one model: steps computed, quality, speed, memory, in JSON rows.

Every cached run is compared with the uncached run of the same prompt and seed, on float frames.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import skipstone
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.settings import make_method

PHRASES = {
    "pebble-video": "{} {} on a {} background",
    "pebble-image": "{} on a {} background",
}
MOTIONS = ("bounces", "slides left", "spins", "rolls", "grows", "orbits", "falls", "shakes")
COLOURS = ("blue", "yellow", "green", "white", "pink", "teal", "purple", "gray")


def prompts(model: str, folder: Path, count: int) -> list[str]:
    """Captions that name an object, a motion where there is one, and a background."""
    names, chooser = (folder / "objects.txt").read_text().splitlines(), random.Random(11)
    chosen = []
    for index in range(count):
        name = chooser.choice(names)
        first = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
        parts = [first, MOTIONS[index % 8], COLOURS[(index * 3) % 8]]
        chosen.append(PHRASES[model].format(*(parts if "{} {}" in PHRASES[model] else parts[::2])))
    return chosen


def run(pipe: Any, model: str, prompt: str, seed: int, steps: int) -> tuple[Tensor, float]:
    """The frames in [0, 1] and the seconds of the call."""
    arguments = {**bundled.DEFAULTS[model], "num_inference_steps": steps}
    begin = time.perf_counter()
    output = pipe(prompt, **arguments, generator=torch.Generator().manual_seed(seed), output_type="np")
    seconds = time.perf_counter() - begin
    frames = output.frames[0] if hasattr(output, "frames") else output.images
    return torch.from_numpy(frames).float(), seconds


def row(
    pipe: Any, arguments: argparse.Namespace, text: str, wanted: list[tuple[str, Tensor, float]]
) -> dict[str, Any]:
    """One setting over all prompts; ``plain:steps=N`` is N uncached steps."""
    name, _, given = text.partition(":")
    method = None if name == "plain" else make_method(name, given.split(",") if given else ())
    plain_steps = int(given.removeprefix("steps=")) if method is None else 0
    psnr, ssim, ratio, computed, held = [], [], [], [], []
    for seed, (prompt, frames, seconds) in enumerate(wanted):
        if method is None:
            made, spent = run(pipe, arguments.model, prompt, seed, plain_steps)
            computed.append(plain_steps)
            held.append(0)
        else:
            with skipstone.attach(pipe, method) as cache:
                made, spent = run(pipe, arguments.model, prompt, seed, arguments.steps)
            computed.append(cache.last_run.computed * cache.last_run.steps / cache.last_run.evaluations)
            held.append(cache.last_run.bytes_held)
        measured = quality(made, frames)
        psnr.append(measured.psnr)
        ssim.append(measured.ssim)
        ratio.append(seconds / spent)
    return {
        "model": arguments.model, "setting": text, "steps": arguments.steps, "prompts": len(wanted),
        "computed": sum(computed) / len(computed),
        "psnr_mean": sum(psnr) / len(psnr), "psnr_worst": min(psnr),
        "ssim_mean": sum(ssim) / len(ssim), "speedup_median": sorted(ratio)[len(ratio) // 2],
        "bytes_held": max(held), "device": arguments.device, "torch": torch.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(PHRASES))
    parser.add_argument("settings", nargs="+", help="name:key=value,... or plain:steps=N")
    parser.add_argument("--count", type=int, default=8, help="prompts")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    folder = bundled.folder(arguments.model)
    pipe = skipstone.load(arguments.model).to(arguments.device)
    pipe.set_progress_bar_config(disable=True)
    chosen = prompts(arguments.model, folder, arguments.count)
    run(pipe, arguments.model, chosen[0], 0, 3)
    wanted = [(p, *run(pipe, arguments.model, p, seed, arguments.steps)) for seed, p in enumerate(chosen)]
    for text in arguments.settings:
        print(json.dumps(row(pipe, arguments, text, wanted)), flush=True)


if __name__ == "__main__":
    main()
