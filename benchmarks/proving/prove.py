"""Run plans and other methods in every situation, and write a row for each: resumable, one process a model.

A row holds the PSNR in dB of each test prompt against its uncached run, and the steps that were computed on
average. Plans are made from one recorded prompt; the test prompts are others. ``weighed`` is a plan of the
usual recipe and ``reused`` the same as plain reuse: `usual_plans` takes one of them, by the PSNR to expect.
Both are also run without settling.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import loading  # noqa: F401  (finds the modules beside it)
import numpy as np
import torch
from captions import image_caption, video_caption
from kinds import KINDS
from pictures import names
from scenes import describe, draw_batch
from situations import Situation, situations

import skipstone
from skipstone.pipelines.run.samplers import keeps
from skipstone.schedules.plan import make_plan
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.record import Record
from skipstone.schedules.search import recipes_for, reuse_instead

TESTED = 16
SHARES = (0.34, 0.26, 0.2)
"""Of the steps that a plan computes: 17, 13 and 10 of 50."""

RECORDED_SEED, TESTED_SEED = 1, 7
Row = dict[str, Any]


def prompts(moving: bool, count: int, seed: int) -> list[str]:
    """Captions of drawn scenes."""
    known, chooser = names(), random.Random(seed)
    scenes = describe(draw_batch(count, len(known), torch.Generator().manual_seed(seed)), known)
    return [(video_caption if moving else image_caption)(scene, chooser) for scene in scenes]


@dataclass
class Bench:
    """Runs one situation."""

    situation: Situation
    device: str
    tested: int

    @cached_property
    def pipe(self) -> Any:
        return self.situation.pipeline(self.device)

    @cached_property
    def record(self) -> Record:
        return skipstone.record(self.pipe, **self.arguments(1, RECORDED_SEED))

    @cached_property
    def reference(self) -> Any:
        return np.asarray(self.pipe(**self.arguments(self.tested, TESTED_SEED))[0])

    def arguments(self, count: int, seed: int) -> Row:
        """Of a call with so many prompts, each with its own noise."""
        call = self.situation.call() | {
            "prompt": prompts(KINDS[self.situation.model].moving, count, seed),
            "generator": [torch.Generator().manual_seed(1000 * seed + n) for n in range(count)],
        }
        if "negative_prompt" in call:
            call["negative_prompt"] = [call["negative_prompt"]] * count
        return call

    def judge(self, method: Any) -> Row:
        """What a method does to the test prompts."""
        with skipstone.attach(self.pipe, method) as cache:
            made = np.asarray(self.pipe(**self.arguments(self.tested, TESTED_SEED))[0])
            run = cache.last_run
        computed = run.steps * run.computed / run.evaluations
        return {"computed": round(computed, 2), "psnr": decibels(made, self.reference)}

    def plan(self, recipe: Recipe, computed: int) -> Row:
        """The same of a plan, with the PSNR to expect."""
        plan = make_plan(self.record, recipe, computed)
        expected = {"strip": plan.strip, "estimate": round(plan.expected_psnr or 0.0, 2)}
        return {**expected, **self.judge(skipstone.Planned(plan))}


def decibels(made: Any, wanted: Any) -> list[float]:
    """PSNR of each picture, at most 100."""
    errors = np.square(np.asarray(made, np.float64) - wanted).reshape(len(wanted), -1).mean(1)
    return [round(float(10 * np.log10(1 / max(error, 1e-10))), 2) for error in errors]


def others() -> Iterator[tuple[str, Any]]:
    """Methods that need no plan, each at several settings, and those that reuse the last residual settled."""
    for name, method in reusing():
        yield name, method
        yield f"{name}+settling", skipstone.WithSettling(method)
        yield f"{name}+settling 1.0", skipstone.WithSettling(method, 1.0)
    for interval in (2, 3, 4, 5):
        yield (
            f"fora {interval}+taylor",
            skipstone.WithPredictor(skipstone.FORA(interval), skipstone.Taylor(1)),
        )


def reusing() -> Iterator[tuple[str, Any]]:
    """Those that reuse the last residual."""
    for interval in (2, 3, 4, 5):
        yield f"fora {interval}", skipstone.FORA(interval)
    for threshold in (0.05, 0.1, 0.2, 0.4):
        yield f"teacache {threshold}", skipstone.TeaCache(threshold)
        yield f"seacache {threshold}", skipstone.SeaCache(threshold)


class Rows:
    """Rows in a file, each written once.

    Args:
        path: of the file.
        until: the monotonic time in seconds after which no row is begun.
    """

    def __init__(self, path: Path, until: float) -> None:
        self.path, self.until = path, until
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {(row["situation"], row["way"], row["asked"]) for row in map(json.loads, lines)}

    def add(self, situation: Situation, way: str, asked: int, make: Callable[[], Row]) -> None:
        """Write a row unless it is there; what cannot be done there says why instead."""
        if (situation.label, way, asked) in self.known or time.monotonic() > self.until:
            return
        try:
            made = make()
        except ValueError as why:
            made = {"refused": str(why)}
        with self.path.open("a") as file:
            file.write(json.dumps({"situation": situation.label, "way": way, "asked": asked, **made}) + "\n")


def prove(bench: Bench, rows: Rows) -> None:
    """Write all rows of a situation."""
    situation = bench.situation
    for computed in sorted({round(share * situation.steps) for share in SHARES}, reverse=True):
        usual = recipes_for(bench.record)[0]
        reusing = reuse_instead(make_plan(bench.record, usual, computed))
        for way, recipe in ways(usual, reusing, keeps(bench.pipe.scheduler) is not None):
            rows.add(situation, way, computed, partial(bench.plan, recipe, computed))
    for name, method in others():
        rows.add(situation, name, 0, lambda method=method: bench.judge(method))  # type: ignore[misc]


def ways(usual: Recipe, reusing: Recipe, settle: bool) -> Iterator[tuple[str, Recipe]]:
    """Both recipes, and the same without settling where they settle."""
    for way, unsettled, recipe in (
        ("weighed", "not settled", usual),
        ("reused", "reused, not settled", reusing),
    ):
        yield way, recipe
        if settle and recipe.settles:
            yield unsettled, recipe.unsettled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=list(KINDS))
    parser.add_argument("--rows", type=Path, required=True, help="folder of the rows, a file a model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tested", type=int, default=TESTED, help="test prompts")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no row after so long")
    parser.add_argument("--steps", type=int, nargs="*", help="only situations of so many steps")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    for model in arguments.models:
        rows = Rows(arguments.rows / f"{model}.jsonl", until)
        for situation in situations(model):
            if not arguments.steps or situation.steps in arguments.steps:
                prove(Bench(situation, arguments.device, arguments.tested), rows)


if __name__ == "__main__":
    main()
