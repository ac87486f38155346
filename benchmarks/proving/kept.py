"""The PSNR of many prompts by plans of rising density: resumable, a row for each plan and batch.

A row holds for each prompt the PSNR in dB against its uncached run, and how far the run deviated
(`RunStats.deviations`). Plans are made from one recorded prompt, which is none of these. Rows of the way
``own`` and ``other`` are of plans made from a whole batch of prompts: the same ones with other noise, or
those of another batch.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import loading  # noqa: F401  (finds the modules beside it)
import numpy as np
from kinds import KINDS
from prove import RECORDED_SEED, TESTED_SEED, Bench, decibels
from situations import Situation

import skipstone
from skipstone.schedules.plan import Plan
from skipstone.schedules.promise import budgets
from skipstone.schedules.record import Record
from skipstone.schedules.search import recipes_for, usual_plans
from skipstone.schedules.strips import fewest

SHARES = (0.26, 0.34, 0.5)
"""Of the steps, by plans that are made from a batch of prompts."""

Key = tuple[str, int, int, str, int]
"""Model, steps, number of the batch, way, computed steps."""


@dataclass
class Rows:
    """Rows in a file, each written once.

    Args:
        path: of the file.
    """

    path: Path
    known: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known = {
            (row["model"], row["steps"], row["batch"], row["way"], row["computed"])
            for row in map(json.loads, lines)
        }

    def add(self, key: Key, values: dict[str, Any]) -> None:
        row = dict(zip(("model", "steps", "batch", "way", "computed"), key, strict=True)) | values
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.known.add(key)


@dataclass
class Kept:
    """Runs the plans of one model on batches of prompts."""

    bench: Bench
    size: int

    def __post_init__(self) -> None:
        self.reference = cache(self._reference)
        self.of_batch = cache(self._of_batch)

    def plans(self, number: int) -> Iterator[tuple[str, Plan]]:
        """What is run on a batch."""
        record = self.bench.record
        for plan in usual(record, budgets(fewest(record), record.steps - 1)):
            yield "one", plan
        if number == 0:
            for way, source in (("own", 0), ("other", 1)):
                of_many = self.of_batch(source)
                shares = (max(fewest(of_many), round(share * of_many.steps)) for share in SHARES)
                yield from ((way, plan) for plan in usual(of_many, shares))

    def run(self, plan: Plan, number: int) -> dict[str, Any]:
        """What a plan does to a batch."""
        wanted = self.reference(number)
        with skipstone.attach(self.bench.pipe, plan) as handle:
            made = self._made(number, TESTED_SEED)
            deviations = handle.last_run.deviations
        return {
            "strip": plan.strip,
            "psnr": decibels(made, wanted),
            "deviations": [float(f"{value:.4g}") for value in deviations],
        }

    def _reference(self, number: int) -> Any:
        return self._made(number, TESTED_SEED)

    def _of_batch(self, number: int) -> Record:
        return skipstone.record(self.bench.pipe, **self._arguments(number, RECORDED_SEED))

    def _made(self, number: int, seed: int) -> Any:
        return np.asarray(self.bench.pipe(**self._arguments(number, seed))[0])

    def _arguments(self, number: int, seed: int) -> dict[str, Any]:
        """Of a batch's call: its prompts depend on its number alone, their noise on the seed too."""
        call = self.bench.arguments(self.size, 100 * (number + 1) + seed)
        call["prompt"] = self.bench.arguments(self.size, 100 * (number + 1) + TESTED_SEED)["prompt"]
        return call


def usual(record: Record, computed: Iterable[int]) -> list[Plan]:
    """The plans that are taken without runs."""
    return usual_plans(record, recipes_for(record)[0], list(computed))


def measure(kept: Kept, rows: Rows, batches: int, until: float) -> None:
    """Write the rows of one model that are missing."""
    situation = kept.bench.situation
    for number in range(batches):
        begin = time.monotonic()
        for way, plan in kept.plans(number):
            key = (situation.model, situation.steps, number, way, plan.computed)
            if key not in rows.known and time.monotonic() < until:
                rows.add(key, kept.run(plan, number))
        kept.reference.cache_clear()
        print(f"{situation.label}: batch {number}, {time.monotonic() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=list(KINDS))
    parser.add_argument("--rows", type=Path, required=True, help="folder of the rows, a file a model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=28, help="8 for the model of few steps")
    parser.add_argument("--size", type=int, default=95, help="prompts in a batch")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no row after so long")
    asked = parser.parse_args()
    until = time.monotonic() + asked.seconds
    asked.rows.mkdir(exist_ok=True)
    for model in asked.models:
        steps = 8 if model == "sd3-few-steps" else asked.steps
        bench = Bench(Situation(model, steps=steps), asked.device, asked.size)
        measure(Kept(bench, asked.size), Rows(asked.rows / f"{model}.jsonl"), asked.batches, until)


if __name__ == "__main__":
    main()
