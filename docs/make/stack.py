"""The section of performance.md on what people put beside a plan."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

Row = dict[str, Any]

HEAD = """
## The rest of a fast stack
By `python benchmarks/stack.py speed`: models of full size with random weights, bfloat16, 28 steps, no second
branch of guidance. In each stack `attach(speedup=2.5)` is asked for; the first run is recorded, and the third
is compared with uncached runs of the same stack before and after it. *Gain* is the bare model's time divided
by that of the stack with its plan. [fast_stack.md](fast_stack.md) says what to choose.

| model | stack | without a cache, s | with a plan, s | computed | got | off | gain |
|---|---|---|---|---|---|---|---|
"""

QUALITY = """
By `python benchmarks/stack.py quality`: trained small models ([proving](../benchmarks/proving/README.md)),
{steps} steps, a plan for 2.5x, {count} pictures, {machine}. *PSNR* is of planned pictures against uncached
ones of the same stack, *of the stack* of these against the bare model: an adapter makes other pictures.

| model | stack | computed | PSNR, dB | of the stack, dB |
|---|---|---|---|---|
"""

UNUSABLE = """
Of no use: int8 weights with compiled blocks, without torchao's own settings for the compiler. With torch 2.11
and torchao 0.18 the device was still busy with a first run of two steps after four minutes, for both models.
With those settings the compiler was not done within five.
"""

PICTURES = 8
"""Of each row of quality."""

BARE = "plan alone"

CLOSE = 0.05
"""Speeds nearer to the one asked for need no word."""

FIXED = (
    "before each run the weights are compared with those of the recorded run, and skipped steps take the "
    "host's time, however fast a computed step is. The faster the steps, the more both count; longer runs "
    "and slower cards lose less"
)

WHY = {
    "swapped adapter": "before each run, the weights of all layers and adapters are compared with those of "
    "the recorded run; that is a fixed time, which matters less in longer runs",
    "fp8, blocks compiled": FIXED,
    "fp8, blocks compiled, cuDNN attention, int8 snapshots": "as with fp8 and compiled blocks alone, and the "
    "host was busy with other work: FLUX's skipped steps took three times as long as in "
    "other stacks, and its plan skipped two more for it",
    "compiled whole": FIXED,
    "model offload": "the weights come from the host's memory in each run, which no cache saves (FLUX: about "
    "3.6 s, by its time with a plan against that of the plan alone; Wan: 0.4 s, as the line after the run "
    "says). FLUX's row is of a time when weights in the host's memory were still summed before a run",
    "group offload": "Wan's skipped steps take more of the time than elsewhere; why was not looked into. "
    "Of its uncached runs only the one after the planned runs counts: the one before them was beside "
    "another stack's warm-up",
}
"""Why a stack got another speed than was asked for."""


def section(rows: Sequence[Row]) -> str:
    """The table of the stacks' speeds, why some are off, and the table of their quality."""
    speeds = [row for row in rows if row["part"] == "speed"]
    bare = _bare(speeds)
    lines = (_line(row, bare[row["model"]]) for row in speeds)
    quality = [row for row in rows if row["part"] == "quality"]
    return "".join([HEAD, *lines, UNUSABLE, *_why(speeds), *_quality(quality)])


def _quality(rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        machine = f"{rows[0]['dtype']}, {rows[0]['device']}"
        yield QUALITY.format(steps=rows[0]["steps"], count=PICTURES, machine=machine)
    for row in rows:
        values = (row["psnr"], row["psnr_of_stack"])
        cells = [
            f"`{row['model']}`",
            row["way"],
            f"{row['computed']} of {row['steps']}",
            *map("{:.1f}".format, values),
        ]
        yield f"| {' | '.join(cells)} |\n"


def _bare(rows: Sequence[Row]) -> dict[str, float]:
    return {row["model"]: mean(row["uncached_seconds"]) for row in rows if row["way"] == BARE}


def _line(row: Row, bare: float) -> str:
    cells = [
        row["makes"], row["way"], f"{mean(row['uncached_seconds']):.2f}", f"{row['planned_seconds']:.2f}",
        f"{row['computed']} of {row['steps']}", f"{row['got']:.2f}x", f"{row['off']:+.1%}",
        f"{bare / row['planned_seconds']:.2f}x",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _why(rows: Sequence[Row]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for way in dict.fromkeys(row["way"] for row in rows if abs(row["off"]) > CLOSE):
        reasons.setdefault(WHY[way], []).append(way)
    yield f"\nOff by more than {CLOSE:.0%}:\n\n" if reasons else ""
    yield from (f"- {'; '.join(ways)}: {reason}.\n" for reason, ways in reasons.items())
