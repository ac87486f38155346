"""What 8-bit snapshots cost in quality: a bundled model's plan with each kind of snapshot, in JSON rows.

A run is compared with the uncached run in the same precision.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from machine import about
from pebble_runs import PebbleRuns, spread
from planned import Case, Row, measure_all

from skipstone.pipelines import bundled
from skipstone.schedules.plan import Plan

FORMS = (None, "int8", "fp8")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def cases(runs: PebbleRuns, dtype: str, computed: Sequence[int]) -> Iterator[Case]:
    """A row for each budget and kind of snapshot."""
    record = runs.record()
    for count in computed:
        plan = record.plan(computed=count)
        for form in FORMS:
            key = {"what": "snapshots", "asked": count, "dtype": dtype, "snapshots": form}
            yield Case(key, partial(_row, runs, plan, form))


def _row(runs: PebbleRuns, plan: Plan, form: str | None) -> Row:
    outcomes = runs.follow(plan, form)
    return {"strip": plan.strip, "held": outcomes[0].held, **spread(outcomes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(bundled.DEFAULTS))
    parser.add_argument("--computed", nargs="+", type=int, default=(17, 10))
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=tuple(DTYPES))
    parser.add_argument("--count", type=int, default=64, help="prompts")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=Path, help="a file to add the rows to")
    asked = parser.parse_args()
    fixed = {"model": asked.model, "steps": asked.steps, "count": asked.count}
    for name in asked.dtypes:
        folder = bundled.folder(asked.model)
        runs = PebbleRuns(folder, asked.model, asked.device, asked.steps, asked.count, DTYPES[name])
        for row in measure_all(cases(runs, name, asked.computed), fixed, about(asked.device), asked.rows):
            short = {key: value for key, value in row.items() if not isinstance(value, list)}
            print(json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
