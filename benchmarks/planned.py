"""Planned caching on one model: quality over prompts, the guard, other guidance and sizes, in JSON rows.

Every cached run is compared with the uncached run of the same prompt and seed, on float frames. Other
methods, and fewer plain steps, are measured by `skipstone report`.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import diffusers
import torch
from torch import Tensor

import skipstone
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.report.prompts import pebble_prompts
from skipstone.schedules.plan import Plan


class Bench:
    """A pipeline, and uncached runs to compare with, each made once.

    Args:
        folder: the pipeline's folder.
        model: which bundled model's arguments and prompts to use.
        device: where to run.
        steps: steps of the solver.
        count: how many prompts to compare on. One more is recorded.
    """

    def __init__(self, folder: Path, model: str, device: str, steps: int, count: int) -> None:
        self.pipe = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.defaults = {**bundled.DEFAULTS[model], "num_inference_steps": steps}
        self.recorded, *self.prompts = pebble_prompts(model, count + 1)
        self._uncached: dict[str, list[Tensor]] = {}

    def record(self, *texts: str, **changes: Any) -> skipstone.Record:
        """One uncached run of some prompts, the first one by default."""
        asked = list(texts) or [self.recorded]
        generators = [torch.Generator().manual_seed(1000 + n) for n in range(len(asked))]
        arguments = self._arguments(len(asked), changes)
        return skipstone.record(self.pipe, asked, **arguments, generator=generators)

    def psnr(
        self, plan: Plan, guard: float | None, **changes: Any
    ) -> Iterator[tuple[float, skipstone.RunStats]]:
        """For each prompt the PSNR in dB, and what was computed."""
        for wanted, number in zip(self.uncached(**changes), range(len(self.prompts)), strict=True):
            with skipstone.attach(self.pipe, plan, guard=guard) as cache:
                made = self.run(number, changes)
            yield quality(made, wanted).psnr, cache.last_run

    def uncached(self, **changes: Any) -> list[Tensor]:
        """The uncached run of every prompt."""
        key = json.dumps(changes, sort_keys=True)
        if key not in self._uncached:
            self._uncached[key] = [self.run(number, changes) for number in range(len(self.prompts))]
        return self._uncached[key]

    def run(self, number: int, changes: dict[str, Any]) -> Tensor:
        """The frames of a prompt, in [0, 1]."""
        generator = torch.Generator().manual_seed(number)
        arguments = self._arguments(1, changes)
        made = self.pipe(self.prompts[number], **arguments, generator=generator, output_type="np")
        frames = made.frames[0] if hasattr(made, "frames") else made.images
        return torch.from_numpy(frames).float()

    def _arguments(self, count: int, changes: dict[str, Any]) -> dict[str, Any]:
        arguments = {**self.defaults, **changes}
        if isinstance(arguments.get("negative_prompt"), str):
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * count
        return arguments


def row(name: str, plan: Plan, seen: Sequence[tuple[float, skipstone.RunStats]]) -> dict[str, Any]:
    """What a plan did on all prompts."""
    psnr = sorted(value for value, _ in seen)
    computed = [run.computed * run.steps / run.evaluations for _, run in seen]
    return {
        "what": name,
        "recipe": str(plan.recipe),
        "strip": plan.strip,
        "prompts": len(psnr),
        "computed_planned": plan.computed,
        "computed_mean": mean(computed),
        "computed_most": max(computed),
        "psnr_mean": mean(psnr),
        "psnr_p5": quantiles(psnr, n=20, method="inclusive")[0] if len(psnr) > 1 else psnr[0],
        "psnr_min": psnr[0],
        "deviation_median": median([max(run.deviations, default=0.0) for _, run in seen]),
        "deviation_most": max(max(run.deviations, default=0.0) for _, run in seen),
    }


def budgets(
    bench: Bench, computed: Sequence[int], guards: Sequence[float | None], refine: int
) -> Iterator[Any]:
    """The best plan of each budget, with each margin of the guard."""
    record = bench.record()
    for count in computed:
        plan = record.plan(computed=count, refine=refine)
        for guard in guards:
            yield row(f"planned {count}, guard {guard}", plan, list(bench.psnr(plan, guard)))


def candidates(bench: Bench, computed: Sequence[int]) -> Iterator[Any]:
    """Every candidate of each budget, without the guard: which one a record from a file should take."""
    from skipstone.schedules.plan import make_plan
    from skipstone.schedules.search import RECIPES

    record = bench.record()
    for count in computed:
        for recipe in (recipe for recipe in RECIPES if recipe.suits(record)):
            for anchors in (1, 2, 3):
                plan = make_plan(record, replace(recipe, anchors=anchors), count)
                yield row(f"candidate {count}", plan, list(bench.psnr(plan, None)))


def transfers(bench: Bench, computed: int, guard: float) -> Iterator[Any]:
    """A record's use for what it was not made for: other prompts, guidance and sizes."""
    name = "true_cfg_scale" if "true_cfg_scale" in bench.defaults else "guidance_scale"
    scale, side = bench.defaults[name], bench.defaults["height"]
    cases: dict[str, dict[str, Any]] = {
        "as recorded": {},
        "half the guidance": {name: scale / 2},
        "double the guidance": {name: scale * 2},
        "larger": {"height": side * 3 // 2, "width": side * 3 // 2},
        "half the steps": {"num_inference_steps": bench.defaults["num_inference_steps"] // 2},
    }
    of_one = bench.record().plan(computed=computed)
    of_eight = bench.record(*bench.prompts[:8]).plan(computed=computed)
    for case, changes in cases.items():
        own = bench.record(**changes)
        there = own.plan(computed=round(computed * own.steps / of_one.record.steps))
        for source, plan in (("one prompt", of_one), ("eight prompts", of_eight), ("its own record", there)):
            if changes or source != "its own record":
                seen = list(bench.psnr(plan, guard, **changes))
                yield row(f"{case}, planned from {source}", plan, seen)


def timing(bench: Bench, speedups: Sequence[float]) -> Iterator[Any]:
    """For each asked speedup the measured one: the median of three runs each way, in turns."""
    for asked in speedups:
        plan = bench.record().plan(speedup=asked)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            times[False].append(_seconds(bench, None))
            times[True].append(_seconds(bench, plan))
        got = median(times[False]) / median(times[True])
        yield {
            "what": "timing",
            "asked": asked,
            "expected": plan.speedup,
            "got": got,
            "computed": plan.computed,
        }


def _seconds(bench: Bench, plan: Plan | None) -> float:
    """The time of one denoising loop."""
    from skipstone.pipelines.loop_timer import LoopTimer

    with LoopTimer(bench.pipe) as timer:
        if plan is None:
            bench.run(0, {})
        else:
            with skipstone.attach(bench.pipe, plan, guard=2.0):
                bench.run(0, {})
        return timer.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(bundled.DEFAULTS))
    parser.add_argument("--folder", type=Path, help="the pipeline, if it is not the bundled one")
    parser.add_argument("--parts", nargs="+", choices=("budgets", "candidates", "transfers", "timing"),
                        default=("budgets", "transfers", "timing"))  # fmt: skip
    parser.add_argument("--computed", nargs="+", type=int, default=(25, 17, 13, 10))
    parser.add_argument("--guards", nargs="+", type=float, default=(0.0, 2.0), help="margins; 0 for no guard")
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--speedups", nargs="+", type=float, default=(2.0, 3.0, 4.0))
    parser.add_argument("--count", type=int, default=64, help="prompts")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    folder = asked.folder or bundled.folder(asked.model)
    bench = Bench(folder, asked.model, asked.device, asked.steps, asked.count)
    guards = [guard or None for guard in asked.guards]
    about = {
        "model": asked.model, "steps": asked.steps, "device": asked.device, "machine": platform.processor(),
        "torch": torch.__version__, "diffusers": diffusers.__version__,
    }  # fmt: skip
    if asked.device.startswith("cuda"):
        about["machine"] = torch.cuda.get_device_name()
    parts = {
        "budgets": lambda: budgets(bench, asked.computed, guards, asked.refine),
        "candidates": lambda: candidates(bench, asked.computed),
        "transfers": lambda: transfers(bench, asked.steps // 3, guards[-1] or 2.0),
        "timing": lambda: timing(bench, asked.speedups),
    }
    for part in asked.parts:
        begin = time.perf_counter()
        for measured in parts[part]():
            seconds = round(time.perf_counter() - begin, 1)
            print(json.dumps({**about, **measured, "seconds_so_far": seconds}), flush=True)


if __name__ == "__main__":
    main()
