"""The section of performance.md on several devices of one host."""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

WAYS = {
    "ulysses": "context parallel, Ulysses",
    "ring": "context parallel, ring",
    "tensor": "tensor parallel",
    "weights": "`fully_shard`",
}

HEAD = """
## Several GPUs
By `python benchmarks/several_gpus.py`. [several_gpus.md](several_gpus.md) says how to start them.
"""

SHARED = """
One model on two GPUs of one host, bfloat16, random weights. Each run was made on one GPU and on two; times
are in seconds. *Gain* is the time without a cache divided by the time with it. *Of product* is the gain of
both together divided by the product of the gain of the GPUs and that of the cache on one GPU. *Alike* says
whether all processes computed the same steps. *Difference* is the relative difference of the last latents
from those of one GPU by the same method; where that chose other steps, they are given.

| model, shared by | method | computed | one GPU | two | gain, one | two | of product | alike | difference |
|---|---|---|---|---|---|---|---|---|---|
"""

RECORDS = """
`attach(speedup=...)` on the shared model: the first run is recorded, the others are planned. *Same plans*
counts the budgets for which the record gives the same steps as that of one GPU, *record* is the largest
difference of their matrices, whose entries are at most about 1.

| model, shared by | steps of three runs | all alike | records kept | same plans | record |
|---|---|---|---|---|---|
"""

DATA = """
`skipstone report` of pebble-image by two processes with a GPU each, against one. Times are in seconds, from
the first measured row to the last; *of ideal* is their share of half the time of one process.

| started by | prompts | rows | missing | same steps | metrics apart | one | two | of ideal | in all |
|---|---|---|---|---|---|---|---|---|---|
"""

DEATH = """
A process that is killed in the middle:

| of | others end after, s | how | rows kept | torn rows |
|---|---|---|---|---|
"""


def section(rows: Sequence[Row]) -> str:
    """The tables of all parts that were measured, and what the CPU showed of more processes."""
    on_cpu = [row for row in rows if row["device"] == "cpu"]
    rows = [row for row in rows if row not in on_cpu]
    shared = [row for row in rows if row["part"] == "shared"]
    refused = [row for row in shared if "problem" in row]
    runs = [row for row in shared if "seconds_alone" in row]
    records = [row for row in shared if row.get("method") == "speedup"]
    parts = [HEAD, *_table(SHARED, map(_run, runs)), *_table(RECORDS, map(_record, records))]
    parts += [f"\n{row['model']}, {WAYS[row['way']]}: {row['problem']}\n" for row in refused]
    parts += _table(DATA, (_data(row) for row in rows if row["part"] == "data"))
    parts += _table(DEATH, (_death(row) for row in rows if row["part"] == "death"))
    parts += [f"\n{_on_cpu(on_cpu)}\n"] if on_cpu else []
    return "".join(parts)


def _on_cpu(rows: Sequence[Row]) -> str:
    """What runs without GPUs can show: decisions, not times."""
    counts = " and ".join(str(count) for count in sorted({row["processes"] for row in rows}))
    decided = [row["decided_alike"] for row in rows if row.get("method", "none") != "none"]
    plans = [row["same_plans"].split(" of ") for row in rows if "same_plans" in row]
    same, all_plans = (sum(int(pair[n]) for pair in plans) for n in (0, 1))
    return (
        f"More than two GPUs were not tried. {counts} processes shared tiny models on the CPU, joined by "
        f"gloo: in {sum(decided)} of {len(decided)} runs all decided alike, and {same} of {all_plans} plans "
        "of records made together were those of one process."
    )


def _table(head: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [head, *found] if found else []


def _run(row: Row) -> str:
    strip, alone, steps = row["strip"], row["strip_alone"], row["steps"]
    chosen = f"{strip.count('#') if strip else steps} of {steps}"
    other = f" (one GPU: {alone.count('#')}; `{strip}`, not `{alone}`)" if strip != alone else ""
    return _line(
        f"{row['makes']}, {WAYS[row['way']]}", row["method"], chosen + other, f"{row['seconds_alone']:.2f}",
        f"{row['seconds']:.2f}", f"{row['gain_of_cache_alone']:.2f}", f"{row['gain_of_cache']:.2f}",
        f"{row['of_product']:.3f}", _yes(row["decided_alike"]), f"{row['difference']:.1e}",
    )  # fmt: skip


def _record(row: Row) -> str:
    strips = ", ".join(f"`{strip}`" for strip in row["strips"])
    apart = "" if row["record_difference"] is None else f"{row['record_difference']:.1e}"
    kept = " and ".join(map(str, row["records_kept"]))
    what, alike = f"{row['makes']}, {WAYS[row['way']]}", _yes(row["decided_alike"])
    return _line(what, strips, alike, kept, row["same_plans"], apart)


def _data(row: Row) -> str:
    differ = "" if row["metrics_differ_by"] is None else f"{row['metrics_differ_by']:.1e} dB"
    return _line(
        f"`{row['way']}`", row["prompts"], row["rows"], row["missing"], _yes(row["same_decisions"]), differ,
        row["seconds_alone"], row["seconds"], row["of_ideal"], f"{row['whole']}, not {row['whole_alone']}",
    )  # fmt: skip


def _death(row: Row) -> str:
    how = row.get("error") or f"exit code {row['exit_code']}"
    return _line(row["what"], row["others_end_after"], how, row.get("rows", ""), row.get("torn", ""))


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
