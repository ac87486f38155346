"""Write the figures of planned.md and planned.svg from benchmark rows; ``--check`` only says if stale."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from planned_panel import by_method, figure, plans_of
from written import written

DOCS = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: python docs/make/planned_figures.py -->\n", "<!-- end of figures -->\n"
Row = dict[str, Any]

BUDGETS = """
### {model}, {steps} steps, {prompts} unseen prompts
PSNR in dB against the uncached run. *Computed* is the mean over prompts, and the most for any of them. The
plans are made from one other prompt. Two uncached runs of one prompt are {floor:.0f} dB apart.

| way | computed | mean | 5th percentile | worst |
|---|---|---|---|---|
"""

OTHERS = """
Other methods, with the setting that computes about as many steps of one other prompt: mean PSNR, mean number
of computed steps, and how much better planned is at as many (by straight lines between its measured plans),
on average and for the worst prompt.

| method | {budgets} |
|---|{columns}
"""

QUALITIES = """
The sparsest plan that promises a quality to 95 in 100, calibrated on 19 prompts, on the same unseen prompts:
its computed steps, PSNR, and how many of them keep that quality.

| quality | computed | mean | 5th percentile | kept by |
|---|---|---|---|---|
"""

TRANSFERS = """
A record's use for runs that it was not made for, mean and 5th percentile of {few} prompts. A third of the
steps is computed: 16 of 50, or 8 of 25 where there are half as many.

| run | planned from one prompt | from eight prompts | from its own record |
|---|---|---|---|
"""

EXHAUSTIVE = """
All choices of steps of short runs against the plan, mean PSNR of the same {prompts} unseen prompts.

| steps | computed | choices | plan | best choice | plan's place | median choice |
|---|---|---|---|---|---|---|
"""

SNAPSHOTS = """
Residuals kept in 8 bits between steps, the same plans, {prompts} prompts, each against
uncached runs of the same precision; the last column is what a sample holds.

| steps computed | precision | kept in | mean | 5th percentile | worst | MB |
|---|---|---|---|---|---|---|
"""

ACTIONS = """
Other actions than a whole step, with as many computed blocks: mean and 5th percentile of {prompts} unseen
prompts. The plans are searched on one other prompt; of four metrics the one is taken that does best there.

| blocks of so many steps | whole steps | conditional branch alone on some | first blocks alone on some |
|---|---|---|---|
"""

TIMING = """
The speed of one run, the median of three each way, on {device}.

| asked | got | steps computed |
|---|---|---|
"""


def section(rows: Sequence[Row]) -> str:
    """Everything that was measured, model by model."""
    parts = ["![PSNR by computed steps](planned.svg)\n"]
    for model in dict.fromkeys(row["model"] for row in rows):
        of_model = [row for row in rows if row["model"] == model]
        tables = (_budgets, _others, _qualities, _transfers, _exhaustive, _snapshots, _actions, _timing)
        parts += [line for table in tables for line in table(of_model)]
    parts.append(f"\n{_machines(rows)}.\n")
    return "".join(parts)


def _budgets(rows: Sequence[Row]) -> Iterator[str]:
    planned, fewer = _of(rows, "planned"), {row["asked"]: row for row in _of(rows, "fewer steps")}
    floor = [row["psnr_mean"] for row in _of(rows, "noise floor")]
    if not planned:
        return
    yield BUDGETS.format(**planned[0], floor=floor[0] if floor else float("nan"))
    for asked in sorted({row["asked"] for row in planned}, reverse=True):
        if asked in fewer:
            yield _line(f"{asked} plain steps", fewer[asked])
        of_budget = [row for row in planned if row["asked"] == asked]
        for row in of_budget:
            refined = f", refined {row['refine']}" if row["refine"] else ""
            yield _line(f"planned {asked}{refined}", row)


def _others(rows: Sequence[Row]) -> Iterator[str]:
    found, plans = by_method(rows), sorted(plans_of(rows), key=lambda row: float(row["computed_mean"]))
    budgets = sorted({row["asked"] for its in found.values() for row in its}, reverse=True)
    if found:
        titles = " | ".join(f"{asked} steps" for asked in budgets)
        yield OTHERS.format(budgets=titles, columns="---|" * len(budgets))
    for method, its in found.items():
        by_budget = {row["asked"]: row for row in its}
        cells = (_margin(by_budget[asked], plans) if asked in by_budget else "" for asked in budgets)
        yield f"| `{method}` | {' | '.join(cells)} |\n"


def _margin(row: Row, plans: Sequence[Row]) -> str:
    computed = [plan["computed_mean"] for plan in plans]
    mean, worst = (
        float(np.interp(row["computed_mean"], computed, [plan[name] for plan in plans])) - row[name]
        for name in ("psnr_mean", "psnr_min")
    )
    return f"{row['psnr_mean']:.1f} with {row['computed_mean']:.1f}; {mean:+.1f}, {worst:+.1f}"


def _line(what: str, row: Row) -> str:
    computed = f"{row['computed_mean']:.1f} (at most {row['computed_most']:.0f})"
    values = (f"{row[name]:.1f}" for name in ("psnr_mean", "psnr_p5", "psnr_min"))
    return f"| {' | '.join((what, computed, *values))} |\n"


def _qualities(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "promise")
    if found:
        yield QUALITIES
    for row in found:
        kept = sum(value >= row["quality"] for value in row["psnr"])
        cells = (
            f"{row['quality']:g} dB",
            f"{row['planned']}",
            f"{row['psnr_mean']:.1f}",
            f"{row['psnr_p5']:.1f}",
            f"{kept} of {row['prompts']}",
        )
        yield f"| {' | '.join(cells)} |\n"


def _transfers(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "transfer")
    if not found:
        return
    yield TRANSFERS.format(few=min(row["prompts"] for row in found))
    for case in dict.fromkeys(row["case"] for row in found):
        cells = [case]
        for source in ("one prompt", "eight prompts", "its own record"):
            row = next((r for r in found if (r["case"], r["source"]) == (case, source)), None)
            cells.append("" if row is None else f"{row['psnr_mean']:.1f}, {row['psnr_p5']:.1f}")
        yield f"| {' | '.join(cells)} |\n"


def _exhaustive(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "exhaustive")
    if found:
        yield EXHAUSTIVE.format(**found[0])
    for row in found:
        values = (f"{row[name]:.1f}" for name in ("psnr_mean", "best_psnr_mean"))
        cells = (row["short"], row["asked"], row["masks"], *values, row["rank"])
        yield f"| {' | '.join(map(str, cells))} | {row['median_psnr_mean']:.1f} |\n"


def _snapshots(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "snapshots")
    if found:
        yield SNAPSHOTS.format(**found[0])
    for row in found:
        values = (f"{row[name]:.1f}" for name in ("psnr_mean", "psnr_p5", "psnr_min"))
        cells = (
            row["asked"],
            row["dtype"],
            row["snapshots"] or "the same",
            *values,
            f"{row['held'] / 1e6:.1f}",
        )
        yield f"| {' | '.join(map(str, cells))} |\n"


def _actions(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "actions")
    if found:
        yield ACTIONS.format(**found[0])
    for asked in sorted({row["asked"] for row in found}, reverse=True):
        of_budget = {row["kind"]: row for row in found if row["asked"] == asked}
        cells = (_actions_cell(of_budget[kind]) for kind in ("whole", "branch", "blocks"))
        yield f"| {asked} | {' | '.join(cells)} |\n"


def _actions_cell(row: Row) -> str:
    return f"{row['psnr_mean']:.1f}, {row['psnr_p5']:.1f}"


def _timing(rows: Sequence[Row]) -> Iterator[str]:
    found = _of(rows, "timing")
    if found:
        yield TIMING.format(**found[0])
    for row in found:
        yield f"| {row['speedup']:g} | {row['got']:.2f} | {row['planned']} of {row['steps']} |\n"


def _of(rows: Sequence[Row], what: str) -> list[Row]:
    return [row for row in rows if row["what"] == what]


def _machines(rows: Sequence[Row]) -> str:
    seen = (f"{row['device']}, torch {row['torch']}, diffusers {row['diffusers']}" for row in rows)
    return "Measured by the commands above on " + "; ".join(dict.fromkeys(seen))


def with_section(page: str, text: str) -> str:
    """The page with the figures between their marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{text}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rows", type=Path, default=DOCS.parent / "benchmarks" / "rows" / "planned.jsonl")
    parser.add_argument(
        "--into", type=Path, default=DOCS, help="the folder to write to, with planned.md in it"
    )
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.rows.read_text().splitlines()]
    page, picture = asked.into / "planned.md", asked.into / "planned.svg"
    new = {page: with_section(page.read_text(), section(rows)), picture: figure(rows)}
    return written(new, asked.check)


if __name__ == "__main__":
    sys.exit(main())
