"""Caches on compiled models, and as graphs: for each way, speed and quality, in JSON rows.

A cached run is compared with the uncached run of the same model, compiled in the same way.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import about
from torch import Tensor
from torch._dynamo.utils import counters

import skipstone
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.pipelines.run.loop_timer import LoopTimer

GRAPHS = "not compiled, graphs"
"""Where skipped steps are replayed."""

WAYS: dict[str, Callable[[Any], None]] = {
    "not compiled": lambda model: None,
    GRAPHS: lambda model: None,
    "blocks": lambda model: model.compile_repeated_blocks(),
    "whole": lambda model: model.compile(),
}
PROMPTS = {
    "pebble-video": "a panda face grows on a pink background",
    "pebble-image": "a red apple on a blue background",
}


class Bench:
    """A bundled model, compiled in one way.

    Args:
        name: which.
        way: a key of `WAYS`.
        device: where to run.
        repeats: how many timed runs of each kind.
    """

    def __init__(self, name: str, way: str, device: str, repeats: int) -> None:
        torch._dynamo.reset()
        self.name, self.repeats, self.graphs = name, repeats, way == GRAPHS
        self.pipe = skipstone.load(name).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        WAYS[way](self.pipe.transformer)

    def run(self, timer: LoopTimer) -> tuple[Tensor, float]:
        """The frames and the seconds of the denoising loop."""
        generator = torch.Generator().manual_seed(0)
        made = self.pipe(
            PROMPTS[self.name], **bundled.DEFAULTS[self.name], generator=generator, output_type="np"
        )
        frames = made.frames[0] if hasattr(made, "frames") else made.images
        return torch.from_numpy(frames).float(), timer.seconds

    def timed(self, timer: LoopTimer) -> dict[str, Any]:
        """The frames, the time of the first runs and of later ones, and what was compiled in the latter."""
        begin = time.perf_counter()
        for _ in range(2):
            self.run(timer)
        first = time.perf_counter() - begin
        counters.clear()
        made = [self.run(timer) for _ in range(self.repeats)]
        stats = counters["stats"]
        return {
            "frames": made[-1][0],
            "seconds": median(seconds for _, seconds in made),
            "warm_up_seconds": first,
            "graphs_after_warm_up": stats.get("unique_graphs", 0),
        }

    def rows(self, methods: dict[str, Any]) -> list[dict[str, Any]]:
        """The uncached runs, then those of each method."""
        # One timer for all: with each one the compiler meets a model of another class.
        with LoopTimer(self.pipe) as timer:
            bare = self.timed(timer)
            found = [{"method": "uncached", **bare}]
            found += [self.row(name, method, bare, timer) for name, method in methods.items()]
        return [{key: value for key, value in row.items() if key != "frames"} for row in found]

    def row(self, name: str, method: Any, bare: dict[str, Any], timer: LoopTimer) -> dict[str, Any]:
        """The runs of a method."""
        with skipstone.attach(self.pipe, method, graphs=self.graphs) as cache:
            seen = self.timed(timer)
            run = cache.last_run
        return {
            "method": name,
            **seen,
            "computed_share": run.computed / run.evaluations,
            "replayed": run.replayed,
            "speedup": bare["seconds"] / seen["seconds"],
            "psnr": quality(seen["frames"], bare["frames"]).psnr,
            "notes": list(run.notes),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(PROMPTS))
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--methods", nargs="+", default=("planned", "first-block", "teacache", "pab"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=Path, help="a file to add the rows to")
    asked = parser.parse_args()
    for way in asked.ways:
        plan = skipstone.load_plan(bundled.folder(asked.model) / "plan.json")
        methods = {name: plan if name == "planned" else name for name in asked.methods}
        for row in Bench(asked.model, way, asked.device, asked.repeats).rows(methods):
            line = json.dumps({"model": asked.model, "way": way, **row, **about(asked.device)})
            print(line, flush=True)
            if asked.rows:
                with asked.rows.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
