"""Write performance.md and its figure from the rows of the benchmarks; ``--check`` only says if stale."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import several_gpus
import stack
from drawn import svg, text
from written import written

DOCS = Path(__file__).parents[1]
Row = dict[str, Any]

HEAD = """# Performance
Written by `python docs/make/performance.py` from `benchmarks/rows/`. Do not edit it by hand.

"""

STEPS = """## A skipped step
![The time of a skipped step as a share of a computed one](performance.svg)

By `python benchmarks/step_cost.py`: transformers of full size with random weights, bfloat16, one sample, no
guidance. The program waits for the device after each step, so all of Python's work counts. *Share* is the
time of a skipped step divided by that of a step without a cache. *More memory* is the rise of the peak
against no cache. All caches ran in the same process. *End to end* is a run of 50 steps without waiting. It is
compared with plain runs of as many steps as it computes, before and after it.
"""

COMPILED = """
## Graphs and compiled models
By `python benchmarks/compiled.py`: whole runs of the bundled models. Their steps are short, so Python's time
counts most. *graphs* replays skipped steps (`attach(..., graphs=True)`); *blocks* compiles the model's
blocks. A run is compared with the uncached run of the same kind. `planned` is the plan that came with the
model before plans settled.

| model | run | method | evaluations computed | replayed | loop, s | uncached, s | speedup | PSNR, dB |
|---|---|---|---|---|---|---|---|---|
"""

RUNS = """| whole run | steps computed | seconds | as many steps alone | over |
|---|---|---|---|---|
"""

KERNELS = """## Kernels
By `python benchmarks/kernels.py`. *Of copy* is the time of a device-to-device copy that reads and writes as
many bytes, divided by the kernel's time; 1 is the limit of the memory. The GPU's cache is emptied before each
call. *Plain* is the same in plain torch, *compiled* under `torch.compile`. Errors are relative to float64: a
result stored in bfloat16 has an error of about 0.002, in int8 of 0.007, in fp8 of 0.03.

| tensor | type | operation | kernel, us | of copy | plain, us | compiled, us | error |
|---|---|---|---|---|---|---|---|
"""


PROMISES = """
## Requested and measured speed
By `python benchmarks/promise.py`: `attach(speedup=...)` on the same models. The third run is compared with
uncached runs before and after it. Plans were those of an earlier planner, which did not settle.

| model | requested | measured | steps computed | machine |
|---|---|---|---|---|
"""


def page(
    steps: Sequence[Row],
    kernels: Sequence[Row],
    promises: Sequence[Row],
    compiled: Sequence[Row],
    several: Sequence[Row],
    stacks: Sequence[Row],
) -> str:
    """The whole page."""
    parts = [HEAD]
    if steps:
        parts += [STEPS, *(_model(name, _of(steps, "model", name)) for name in _names(steps, "model"))]
    if promises:
        parts += [PROMISES, *map(_promise_line, promises)]
    if compiled:
        parts += [COMPILED, *_compiled_lines(compiled), f"\n{_machines(compiled)}\n"]
    if stacks:
        parts += [stack.section(stacks), f"\n{_machines(stacks)}\n"]
    if several:
        parts += [several_gpus.section(several), f"\n{_machines(several)}\n"]
    if kernels:
        parts += [f"\n{KERNELS}", *_kernel_lines(kernels), f"\n{_machines(kernels)}\n"]
    return "".join(parts)


def _model(name: str, rows: Sequence[Row]) -> str:
    bare = next(row for row in rows if row["what"] == "no cache")
    lines = [
        f"\n### {rows[0]['makes']}\n",
        f"A step without a cache takes {bare['computed_ms']:.1f} ms ({_machines(rows)}).\n\n",
        "| cache | computed step, ms | skipped step, ms | share | more memory, MiB | held, MiB |\n",
        "|---|---|---|---|---|---|\n",
    ]
    lines += [_step_line(row, bare) for row in rows if "computed_ms" in row or "skipped_ms" in row]
    whole = [row for row in rows if "over_ideal" in row]
    lines += [f"\n{RUNS}", *map(_run_line, whole)] if whole else []
    lines += [_in_turns(row) for row in rows if "over_bare" in row]
    lines += [f"\n{row['what']} was not measured: {row['problem']}\n" for row in rows if "problem" in row]
    return "".join(lines)


def _run_line(row: Row) -> str:
    computed, steps = row["strip"].count("#"), len(row["strip"])
    return (
        f"| {row['what']} | {computed} of {steps} | {row['seconds']:.3f} | {row['ideal_seconds']:.3f} | "
        f"{row['over_ideal']:+.1%} |\n"
    )


def _in_turns(row: Row) -> str:
    return (
        f"\nSteps with a cache that never skips, in turns with steps without one: {row['attached_ms']:.2f} ms"
        f" against {row['bare_ms']:.2f}, {row['over_bare']:+.2%}.\n"
    )


def _step_line(row: Row, bare: Row) -> str:
    held = row["bytes_held"]
    cells = [
        row["what"],
        _spread(row, "computed"),
        _spread(row, "skipped"),
        "" if share(row, bare) is None else f"{share(row, bare):.2%}",
        f"{row['peak_mib'] - bare['peak_mib']:.0f}",
        "" if held is None else f"{held / 2**20:.0f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _spread(row: Row, kind: str) -> str:
    if f"{kind}_ms" not in row:
        return ""
    middle, low, high = (row[f"{kind}_{part}"] for part in ("ms", "p20_ms", "p80_ms"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def share(row: Row, bare: Row) -> float | None:
    """The time of a skipped step over that of one without a cache."""
    return row["skipped_ms"] / bare["computed_ms"] if "skipped_ms" in row else None


def _promise_line(row: Row) -> str:
    computed = f"{row['computed']} of {row['steps']}"
    return f"| {row['makes']} | {row['asked']:g}x | {row['got']:.2f}x | {computed} | {_machines([row])} |\n"


def _compiled_lines(rows: Sequence[Row]) -> Iterator[str]:
    bare = {(row["model"], row["way"]): row["seconds"] for row in rows if row["method"] == "uncached"}
    for row in rows:
        if row["method"] != "uncached":
            cells = [
                row["model"], row["way"], row["method"], f"{row['computed_share']:.0%}", str(row["replayed"]),
                f"{row['seconds']:.2f}", f"{bare[row['model'], row['way']]:.2f}", f"{row['speedup']:.2f}x",
                f"{row['psnr']:.1f}",
            ]  # fmt: skip
            yield f"| {' | '.join(cells)} |\n"


def _kernel_lines(rows: Sequence[Row]) -> Iterator[str]:
    keys = dict.fromkeys((row["shape"], row["mib"], row["dtype"], row["operation"]) for row in rows)
    for key in keys:
        shape, mib, dtype, operation = key
        ways = {
            row["way"]: row
            for row in rows
            if (row["shape"], row["mib"], row["dtype"], row["operation"]) == key
        }
        kernel = ways["kernel"]
        times = [f"{ways[way]['median_us']:.1f}" if way in ways else "" for way in ("plain", "compiled")]
        cells = [
            f"{shape}, {mib:g} MiB", dtype, operation, f"{kernel['median_us']:.1f}",
            f"{kernel['of_copy']:.2f}", *times, f"{kernel['error']:.1e}",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |\n"


def figure(rows: Sequence[Row]) -> str:
    """A bar for each cache and model, as long as its skipped step takes of a computed one."""
    bars = [(name, label, value) for name in _names(rows, "model") for label, value in _bars(rows, name)]
    widest, left = max((value for *_, value in bars), default=1.0), 250
    parts, y, last = [], 10, None
    for name, label, value in bars:
        if name != last:
            y += 26
            parts.append(text("title", 8, y, name))
            last = name
        y += 18
        length = max(420 * value / widest, 1)
        style = "series-2" if label.startswith("skipstone") else "other"
        parts.append(text("label right", left - 8, y, label))
        parts.append(f'<rect class="{style}" x="{left}" y="{y - 11}" width="{length:.1f}" height="13"/>')
        parts.append(text("label", left + length + 6, y, f"{value:.2%}"))
    return svg(760, y + 16, "The time of a skipped step as a share of a computed one", parts)


def _bars(rows: Sequence[Row], model: str) -> list[tuple[str, float]]:
    of_model = _of(rows, "model", model)
    bare = next(row for row in of_model if row["what"] == "no cache")
    shares = [(row["what"], share(row, bare)) for row in of_model]
    return [(what, value) for what, value in shares if value is not None]


def _names(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _of(rows: Sequence[Row], key: str, value: str) -> list[Row]:
    return [row for row in rows if row[key] == value]


def _machines(rows: Sequence[Row]) -> str:
    versions = ("torch", "triton", "diffusers")
    seen = dict.fromkeys(
        f"{row['device']}, " + ", ".join(f"{name} {row[name]}" for name in versions if row.get(name))
        for row in rows
    )
    return "; ".join(seen)


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rows", type=Path, default=DOCS.parent / "benchmarks" / "rows")
    parser.add_argument("--into", type=Path, default=DOCS, help="the folder to write to")
    asked = parser.parse_args()
    names = ("step_cost", "kernels", "promise", "compiled", "several_gpus", "stack")
    rows = [_read(asked.rows / f"{name}.jsonl") for name in names]
    if not any(rows[:2]):
        raise SystemExit(f"no rows in {asked.rows}: run benchmarks/kernels.py and benchmarks/step_cost.py")
    text_of = page(*rows)
    pages = {"performance.md": text_of, "performance.svg": figure(rows[0])}
    return written({asked.into / name: text for name, text in pages.items()}, asked.check)


if __name__ == "__main__":
    sys.exit(main())
