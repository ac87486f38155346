"""Time one chunk of a stream with a full window: prefix computed again or kept, and a cache, in JSON rows.

``computed`` gives all chunks so far to each step in one pass. ``shared`` gives it only the chunk, which sees
what was kept of the others and is kept at its end. ``shared, fora`` computes every second step of the chunk.
The ways take turns, so that what else runs on the machine is the same for all.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import about
from recomputed import OnePass
from torch import Tensor

import skipstone
from skipstone.pipelines import bundled
from skipstone.pipelines.causal.attention import SelfAttentions
from skipstone.pipelines.causal.settings import settings_of

PROMPT = "a red apple bounces on a blue background"


class Chunk:
    """The ways to make one chunk.

    Args:
        model: the name of a bundled causal model.
        device: where it runs.
    """

    def __init__(self, model: str, device: str) -> None:
        self.pipe = skipstone.load(model).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.settings, self.steps = settings_of(self.pipe, {}), bundled.DEFAULTS[model]["num_inference_steps"]
        self.text = self.pipe.encode_prompt(PROMPT, do_classifier_free_guidance=False)[0]
        assert self.settings.window is not None
        self.before = self.settings.window // self.settings.chunk
        shape = (1, self.pipe.transformer.config.in_channels, self.settings.chunk, 32, 32)
        self.chunks = [torch.randn(shape, device=device) for _ in range(self.before + 1)]

    def shared(self) -> float:
        return self._kept()

    def planned(self) -> float:
        with skipstone.attach(self.pipe, "fora"):
            return self._kept()

    @torch.no_grad()
    def computed(self) -> float:
        """Seconds; each step has the chunks before the last one in it."""
        model, size = self.pipe.transformer, self.settings.chunk
        tokens = 32 // model.config.patch_size[1] * (32 // model.config.patch_size[2])
        attentions, scheduler = SelfAttentions(model), copy.deepcopy(self.pipe.scheduler)
        scheduler.set_timesteps(self.steps, device=self.text.device)
        chunk, begin = self.chunks[-1], time.perf_counter()
        for t in scheduler.timesteps:
            video = torch.cat([*self.chunks[:-1], chunk], 2)
            times = torch.full((1, video.shape[2] * tokens), self.settings.context_timestep)
            times[:, -size * tokens :] = t
            with attentions.by(OnePass([size] * len(self.chunks), self.settings, tokens)):
                velocity = model(video, times.to(video.device), self.text, return_dict=False)[0]
            chunk = scheduler.step(velocity[:, :, -size:], t, chunk, return_dict=False)[0]
        attentions.remove()
        return time.perf_counter() - begin

    @torch.no_grad()
    def _kept(self) -> float:
        """Seconds of a chunk that sees what is kept, and of keeping it."""
        settings = self.settings
        with skipstone.block_causal(self.pipe.transformer, settings.window, settings.sink) as prefix:
            for chunk in self.chunks[:-1]:
                self._keep(prefix, chunk)
            begin = time.perf_counter()
            made = self.pipe(
                prompt_embeds=self.text, latents=self.chunks[-1], num_inference_steps=self.steps,
                guidance_scale=1.0, num_frames=4 * settings.chunk - 3, output_type="latent",
            ).frames  # fmt: skip
            self._keep(prefix, made)
            return time.perf_counter() - begin

    def _keep(self, prefix: Any, chunk: Tensor) -> None:
        with self.pipe.transformer.cache_context("cond"):
            prefix.commit(chunk, self.settings.context_timestep, self.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="pebble-stream")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    made = Chunk(asked.model, asked.device)
    ways: dict[str, Callable[[], float]] = {
        "computed": made.computed,
        "shared": made.shared,
        "shared, fora": made.planned,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(asked.rounds):
        for way, measure in ways.items():
            seconds[way].append(measure())
    with asked.rows.open("a") as file:
        for way, every in seconds.items():
            facts = {"model": asked.model, "part": "chunk", "way": way, "steps": made.steps}
            times = {"median": statistics.median(every), "seconds": [round(one, 3) for one in every]}
            line = json.dumps({**facts, **times, **about(asked.device), "threads": torch.get_num_threads()})
            print(line, file=file)
            print(line, flush=True)


if __name__ == "__main__":
    main()
