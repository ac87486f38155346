"""The speed asked for and the speed got by `attach(speedup=...)` on full-size transformers, in JSON rows.

The first run is recorded where there is no record yet, the second shows what a skipped step costs, and the
third is measured against runs that compute everything, before and after it. Weights are random: time is
right, quality means nothing.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from full_size import MODELS
from machine import about
from step_cost import Loop

import skipstone
from skipstone.pipelines.planning import autoplan


def rows(loop: Loop, speedups: list[float], steps: int, **attach: Any) -> Iterator[dict[str, Any]]:
    """A row for each speedup; the rest goes to `skipstone.attach`."""
    bare = loop(steps).seconds
    for speedup in speedups:
        with skipstone.attach(loop, speedup=speedup, **attach) as cache:
            first, second, planned = (loop(steps).seconds for _ in range(3))
            run = cache.last_run
        after = loop(steps).seconds
        got = (bare + after) / 2 / planned
        yield {
            "asked": speedup,
            "got": round(got, 3),
            "off": round(got / speedup - 1, 4),
            "computed": run.computed,
            "steps": steps,
            "uncached_seconds": [round(bare, 3), round(after, 3)],
            "first_seconds": round(first, 3),
            "second_seconds": round(second, 3),
            "planned_seconds": round(planned, 3),
            "strip": run.strip,
            "notes": list(run.notes),
        }
        bare = after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=tuple(MODELS))
    parser.add_argument("--speedups", nargs="+", type=float, default=[2.0, 3.0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asked.rows.open("a") as file:
        autoplan.records_folder = lambda: Path(folder)
        for name in asked.models:
            spec = MODELS[name].shrunk() if asked.tiny else MODELS[name]
            loop = Loop(spec, asked.device)
            loop(2)
            for row in rows(loop, asked.speedups, asked.steps):
                line = json.dumps({"model": name, "makes": spec.makes, **row, **about(asked.device)})
                print(line, file=file, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
