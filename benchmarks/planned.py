"""Planned caching on one bundled model: quality over prompts, other kinds of runs, in JSON rows.

Every cached run is compared with the uncached run of the same prompt and seed, on float frames; beside them
stand runs with fewer plain steps and the noise floor, uncached runs of single prompts against the batches
that all are compared with. Other methods are measured by `skipstone report`.

With ``--rows`` what a file has already is not measured again, and several processes can share the file, one
for each part or budget. ``timing`` wants the machine for itself.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import Any

from machine import about
from pebble_runs import Outcome, PebbleRuns, psnr, spread

import skipstone
from skipstone.pipelines import bundled
from skipstone.schedules.plan import Plan, make_plan
from skipstone.schedules.search import RECIPES
from skipstone.schedules.strips import strip_of

FEW = 16
"""Prompts for what has to be run one prompt at a time and is not the main thing."""

PARTS = ("baselines", "budgets", "qualities", "transfers", "exhaustive", "timing")
"""What is measured if nothing else is asked for."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A row that can be measured.

    Args:
        key: what tells it from all other rows.
        measure: the rest of the row.
    """

    key: Row
    measure: Callable[[], Row]


def planned(plan: Plan, outcomes: Sequence[Outcome]) -> Row:
    """What a plan did."""
    return {"recipe": str(plan.recipe), "strip": plan.strip, "planned": plan.computed, **spread(outcomes)}


def baselines(runs: PebbleRuns, computed: Sequence[int]) -> Iterator[Case]:
    """Runs of fewer plain steps, and how far two uncached runs of one prompt are apart."""
    for count in computed:
        yield Case({"what": "fewer steps", "asked": count}, partial(_fewer_steps, runs, count))
    yield Case({"what": "noise floor"}, partial(_noise_floor, runs))


def _fewer_steps(runs: PebbleRuns, count: int) -> Row:
    made = runs.batched(range(len(runs.prompts)), num_inference_steps=count)
    pairs = zip(made, runs.uncached(), strict=True)
    return spread([Outcome(psnr(one, other), count) for one, other in pairs])


def _noise_floor(runs: PebbleRuns) -> Row:
    steps = runs.defaults["num_inference_steps"]
    numbers = range(min(FEW, len(runs.prompts)))
    return spread([Outcome(psnr(*runs.run([n]), runs.uncached()[n]), steps) for n in numbers])


def budgets(runs: PebbleRuns, computed: Sequence[int], refine: int) -> Iterator[Case]:
    """The best plan of each budget."""
    record = cache(runs.record)
    for count in computed:
        plan = cache(lambda count=count: record().plan(computed=count, refine=refine))
        key = {"what": "planned", "asked": count, "refine": refine}
        yield Case(key, partial(_followed, runs, plan))


def qualities(runs: PebbleRuns, wanted: Sequence[float]) -> Iterator[Case]:
    """The sparsest plan that promises a quality: what other prompts reach with it."""
    record = cache(runs.record)
    for quality in wanted:
        plan = cache(lambda quality=quality: record().plan(quality=quality, prompts=runs.calibrated))
        key = {"what": "promise", "quality": quality, "calibrated": len(runs.calibrated)}
        yield Case(key, partial(_followed, runs, plan))


def _followed(runs: PebbleRuns, plan: Callable[[], Plan], **changes: Any) -> Row:
    return planned(plan(), runs.follow(plan(), **changes))


def candidates(runs: PebbleRuns, computed: Sequence[int]) -> Iterator[Case]:
    """Every candidate of each budget: which one a record from a file should take."""
    record = cache(runs.record)
    for count in computed:
        for recipe in RECIPES:
            plan = cache(lambda recipe=recipe, count=count: make_plan(record(), recipe, count))
            key = {"what": "candidate", "asked": count, "candidate": str(recipe)}
            yield Case(key, partial(_followed, runs, plan))


def transfers(runs: PebbleRuns, computed: int) -> Iterator[Case]:
    """A record's use for what it was not made for: other prompts, guidance, sizes and numbers of steps."""
    name = "true_cfg_scale" if "true_cfg_scale" in runs.defaults else "guidance_scale"
    scale, side, steps = (runs.defaults[key] for key in (name, "height", "num_inference_steps"))
    changed: dict[str, Row] = {
        "as recorded": {},
        "half the guidance": {name: scale / 2},
        "double the guidance": {name: scale * 2},
        "larger": {"height": side * 3 // 2, "width": side * 3 // 2},
        "half the steps": {"num_inference_steps": steps // 2},
    }
    of_one = cache(lambda: runs.record().plan(computed=computed))
    of_eight = cache(lambda: runs.record(*runs.prompts[:8]).plan(computed=computed))
    for case, changes in changed.items():
        own = cache(lambda changes=changes: _own_plan(runs, computed / steps, changes))
        for source, plan in (("one prompt", of_one), ("eight prompts", of_eight), ("its own record", own)):
            if changes or plan is not own:
                key = {"what": "transfer", "case": case, "source": source}
                yield Case(key, partial(_followed, runs, plan, **changes))


def _own_plan(runs: PebbleRuns, share: float, changes: Row) -> Plan:
    record = runs.record(**changes)
    return record.plan(computed=round(share * record.steps))


def exhaustive(runs: PebbleRuns, sizes: Sequence[Sequence[int]]) -> Iterator[Case]:
    """On short runs, the plan against all choices of steps, each run on the same unseen prompts."""
    for steps, computed in sizes:
        key = {"what": "exhaustive", "short": steps, "asked": computed}
        yield Case(key, partial(_all_masks, runs, steps, computed))


def _all_masks(runs: PebbleRuns, steps: int, computed: int) -> Row:
    numbers, short = range(min(FEW, len(runs.prompts))), {"num_inference_steps": steps}
    wanted = runs.batched(numbers, **short)
    plan = runs.record(**short).plan(computed=computed)
    scores = {}
    for chosen in combinations(range(1, steps), computed - 1):
        strip = strip_of({0, *chosen}, steps)
        with skipstone.attach(runs.pipe, replace(plan, strip=strip)):
            made = runs.batched(numbers, **short)
        scores[strip] = [psnr(one, other) for one, other in zip(made, wanted, strict=True)]
    means = {strip: mean(values) for strip, values in scores.items()}
    best = max(means, key=lambda strip: means[strip])
    return {
        "recipe": str(plan.recipe),
        "strip": plan.strip,
        "best_strip": best,
        "masks": len(means),
        "rank": 1 + sum(value > means[plan.strip] for value in means.values()),
        "psnr_mean": means[plan.strip],
        "best_psnr_mean": means[best],
        "median_psnr_mean": median(means.values()),
        "own_best_psnr_mean": mean(max(values) for values in zip(*scores.values(), strict=True)),
        "prompts": len(wanted),
    }


def timing(runs: PebbleRuns, speedups: Sequence[float]) -> Iterator[Case]:
    """For each asked speedup the measured one: the median of three runs each way, in turns."""
    record = cache(runs.record)
    for asked in speedups:
        yield Case({"what": "timing", "speedup": asked}, partial(_timed, runs, record, asked))


def _timed(runs: PebbleRuns, record: Callable[[], skipstone.Record], asked: float) -> Row:
    plan = record().plan(speedup=asked)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        times[False].append(_seconds(runs, None))
        times[True].append(_seconds(runs, plan))
    got = median(times[False]) / median(times[True])
    return {"expected": plan.speedup, "got": got, "planned": plan.computed}


def _seconds(runs: PebbleRuns, plan: Plan | None) -> float:
    """The time of one denoising loop."""
    from skipstone.pipelines.run.loop_timer import LoopTimer

    with LoopTimer(runs.pipe) as timer:
        if plan is None:
            next(runs.run([0]))
        else:
            with skipstone.attach(runs.pipe, plan):
                next(runs.run([0]))
        return timer.seconds


def measure_all(cases: Iterator[Case], fixed: Row, machine: Row, file: Path | None) -> Iterator[Row]:
    """Measures what the file does not have yet, on whatever machine, and adds it."""
    known = [json.loads(line) for line in file.read_text().splitlines()] if file and file.exists() else []
    for case in cases:
        key = {**fixed, **case.key}
        if any(all(row.get(name, row) == value for name, value in key.items()) for row in known):
            continue
        begin = time.perf_counter()
        row = {**key, **case.measure(), **machine, "seconds": round(time.perf_counter() - begin, 1)}
        if file:
            with file.open("a") as rows:
                rows.write(json.dumps(row) + "\n")
        yield row


def parser_of(description: str | None, computed: Sequence[int]) -> argparse.ArgumentParser:
    """The options of every benchmark of a bundled model on many prompts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", choices=tuple(bundled.DEFAULTS))
    parser.add_argument("--computed", nargs="+", type=int, default=computed)
    parser.add_argument("--count", type=int, default=64, help="prompts")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=Path, help="a file to add the rows to")
    return parser


def measure_and_print(cases: Iterator[Case], asked: argparse.Namespace) -> None:
    """Measures what is not known yet, and prints each row without its lists."""
    fixed = {"model": asked.model, "steps": asked.steps, "count": asked.count}
    for row in measure_all(cases, fixed, about(asked.device), asked.rows):
        short = {name: value for name, value in row.items() if not isinstance(value, list)}
        print(json.dumps(short), flush=True)


def main() -> None:
    parser = parser_of(__doc__, (25, 17, 13, 10))
    parser.add_argument("--folder", type=Path, help="the pipeline, if it is not the bundled one")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=(*PARTS, "candidates"))
    parser.add_argument("--qualities", nargs="+", type=float, default=(35.0, 45.0), help="PSNR in dB")
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--speedups", nargs="+", type=float, default=(2.0, 3.0, 4.0))
    parser.add_argument("--short", nargs=2, type=int, action="append", metavar=("STEPS", "COMPUTED"))
    asked = parser.parse_args()
    folder = asked.folder or bundled.folder(asked.model)
    runs = PebbleRuns(folder, asked.model, asked.device, asked.steps, asked.count)
    parts = {
        "baselines": lambda: baselines(runs, asked.computed),
        "budgets": lambda: budgets(runs, asked.computed, asked.refine),
        "qualities": lambda: qualities(runs, asked.qualities),
        "candidates": lambda: candidates(runs, asked.computed),
        "transfers": lambda: transfers(runs, asked.steps // 3),
        "exhaustive": lambda: exhaustive(runs, asked.short or [(10, 5)]),
        "timing": lambda: timing(runs, asked.speedups),
    }
    for part in asked.parts:
        measure_and_print(parts[part](), asked)


if __name__ == "__main__":
    main()
