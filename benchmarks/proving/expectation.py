"""How well a record tells the quality of its plans: run plans, write a row for each, and fit the estimate.

A row holds the latents' squared error that the record leads to expect, in dB, and the PSNR in dB of each test
prompt. `--fit` runs nothing: it fits the line of `skipstone.schedules.expectation` to the rows, all in all
and with each model left out in turn.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import loading  # noqa: F401  (finds the modules beside it)
import numpy as np
from kinds import KINDS
from prove import Bench
from situations import Situation

import skipstone
from skipstone.schedules.expectation import SAFE, latent_error
from skipstone.schedules.plan import make_plan
from skipstone.schedules.search import recipes_for

SHARES = (0.7, 0.5, 0.34, 0.25, 0.18)
"""Of the steps that a plan computes."""

CLOSE = 60.0
"""PSNR in dB above which nobody sees a difference; such rows are not fitted."""


def rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """A row for each plan of a situation."""
    record, steps = bench.record, bench.situation.steps
    for share in SHARES:
        plan = make_plan(record, recipes_for(record)[0], max(2, round(share * steps)))
        error = latent_error(record, plan.strip)
        assert error is not None
        judged = bench.judge(skipstone.Planned(plan))
        yield {
            "model": bench.situation.model, "steps": steps, "strip": plan.strip,
            "error": round(10 * math.log10(error), 2), "psnr": judged["psnr"],
        }  # fmt: skip


def fit(rows: Sequence[dict[str, Any]]) -> None:
    """Print the line through the rows, and how far off it is for models that it has not seen."""
    near = [row for row in rows if fmean(row["psnr"]) < CLOSE]
    slope, at_one = _line(near)
    off = {
        model: _off([row for row in near if row["model"] == model],
                    *_line([row for row in near if row["model"] != model]))
        for model in {row["model"] for row in near}
    }  # fmt: skip
    every = np.concatenate(list(off.values()))
    print(f"AT_ONE, SLOPE = {at_one:.1f}, {-slope:.2f} from {len(near)} plans of {len(off)} models")
    print(f"a model left out: standard deviation {every.std():.1f} dB, most {abs(every).max():.1f}")
    for model, errors in sorted(off.items()):
        print(f"  {model}: {errors.mean():+.1f} dB off, {len(errors)} plans")
    said = [row for row in near if at_one + slope * row["error"] >= SAFE]
    kept = sum(fmean(row["psnr"]) >= SAFE - 5 for row in said)
    print(f"{kept} of {len(said)} plans that were expected to keep {SAFE:g} dB keep {SAFE - 5:g}")


def _line(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    slope, at_one = np.polyfit([row["error"] for row in rows], [fmean(row["psnr"]) for row in rows], 1)
    return float(slope), float(at_one)


def _off(rows: Sequence[dict[str, Any]], slope: float, at_one: float) -> Any:
    return np.array([fmean(row["psnr"]) - at_one - slope * row["error"] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[*KINDS, []], help="what to run; all by default")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    parser.add_argument("--steps", type=int, nargs="*", default=[20, 28, 50])
    parser.add_argument("--tested", type=int, default=6, help="test prompts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fit", action="store_true", help="run nothing, fit the rows")
    asked = parser.parse_args()
    if asked.fit:
        fit([json.loads(line) for line in asked.rows.read_text().splitlines()])
        return
    for situation in (Situation(model, steps=n) for n in asked.steps for model in asked.models or KINDS):
        with asked.rows.open("a") as file:
            for row in rows(Bench(situation, asked.device, asked.tested)):
                print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    main()
