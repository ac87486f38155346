"""A video that a causal model makes chunk by chunk: prefix kept, computed again, and planned, in JSON rows.

``shared`` is `skipstone.stream`. ``computed`` makes the same video with nothing kept between two calls of the
model: each call computes all chunks so far in one pass, which is why it should be short. ``planned`` is a
stream that skips steps within the chunks.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import about
from recomputed import recomputed
from torch import Tensor

import skipstone
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.pipelines.causal.settings import settings_of

PROMPT = "a red apple bounces on a blue background"

WAYS = ("shared", "planned", "computed")


class Streams:
    """The ways to make one video.

    Args:
        asked: the options of the command line.
    """

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.pipe = skipstone.load(asked.model).to(asked.device)
        self.pipe.set_progress_bar_config(disable=True)
        self.call = dict(bundled.DEFAULTS[asked.model])
        self.steps = asked.steps or self.call["num_inference_steps"]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each way; those after ``shared`` say how far they are from it."""
        same: Tensor | None = None
        for way in (way for way in WAYS if way in self.asked.ways):
            pieces, row = self.timed(getattr(self, way)())
            made = torch.cat(pieces, dim=2)
            same = made if way == "shared" else same
            facts = {"model": self.asked.model, "frames": made.shape[2], "steps": self.steps, "way": way}
            yield {**facts, **row, **({} if same is None or same is made else _apart(made, same))}

    def shared(self, cache: Any = None) -> Iterator[Tensor]:
        return skipstone.stream(
            self.pipe, PROMPT, self.asked.frames, steps=self.steps, generator=self.noise(), cache=cache
        )

    def planned(self) -> Iterator[Tensor]:
        path = self.asked.plan or bundled.default_plan(self.asked.model)
        if path is None:
            raise SystemExit("give --plan FILE; skipstone plan --model pebble-stream writes one")
        return self.shared(skipstone.load_plan(path))

    @torch.no_grad()
    def computed(self) -> Iterator[Tensor]:
        pipe, settings, scale = self.pipe, settings_of(self.pipe, {}), self.call["guidance_scale"]
        texts = [one for one in pipe.encode_prompt(PROMPT, max_sequence_length=512) if one is not None]
        sizes = list(settings.sizes(-(-(self.asked.frames - 1) // pipe.vae_scale_factor_temporal) + 1))
        latents = recomputed(
            pipe, texts[: 1 + (scale > 1)], sizes, settings, steps=self.steps, guidance_scale=scale,
            height=self.call["height"], width=self.call["width"], generator=self.noise(),
        )  # fmt: skip
        config = pipe.vae.config
        each = (torch.tensor(one).view(1, -1, 1, 1, 1) for one in (config.latents_mean, config.latents_std))
        mean, std = (one.to(latents) for one in each)
        yield pipe.vae.decode(latents * std + mean, return_dict=False)[0][:, :, : self.asked.frames]

    def noise(self) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def timed(self, frames: Iterator[Tensor]) -> tuple[list[Tensor], dict[str, Any]]:
        """The pieces of a video, and when they came."""
        begin, pieces, when = time.perf_counter(), [], []
        for piece in frames:
            pieces.append(piece.cpu())
            when.append(round(time.perf_counter() - begin, 2))
        return pieces, {"seconds": when[-1], "first_seconds": when[0]}


def _apart(made: Tensor, same: Tensor) -> dict[str, Any]:
    """How far two videos are apart; their values are in [-1, 1]."""
    first, second = (((one[0].permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1) for one in (made, same))
    return {"largest": float((made - same).abs().max()), "psnr": round(quality(first, second).psnr, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="pebble-stream")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--frames", type=int, default=105)
    parser.add_argument("--steps", type=int, help="of each chunk; by default those of the model")
    parser.add_argument("--plan", type=Path, help="of a chunk; by default that of the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    with asked.rows.open("a") as file:
        for row in Streams(asked).rows():
            line = json.dumps({**row, **about(asked.device), "threads": torch.get_num_threads()})
            print(line, file=file, flush=True)
            print(line, flush=True)


if __name__ == "__main__":
    main()
