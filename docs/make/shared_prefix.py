"""Write the picture and the tables of shared_prefix.md; ``--check`` only says whether they are stale.

    python docs/make/shared_prefix.py

The picture is drawn by diffusers' schedule and skipstone's rule, the tables from the rows of
`benchmarks/shared_prefix.py`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import SkyReelsV2DiffusionForcingPipeline
from written import written

from skipstone.pipelines.causal.forcing import Forcing, Needed
from skipstone.pipelines.run.run import Run
from skipstone.pipelines.run.schedule import Schedule

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/shared_prefix.jsonl", ROOT / "docs/shared_prefix.md"

LATENT_FRAMES, BLOCK, STEPS, AR_STEP = 25, 5, 30, 5

Row = dict[str, Any]


def needed() -> list[Needed]:
    """What each step of a loop computes."""
    times = torch.linspace(1000, 30, STEPS).long()
    made = SkyReelsV2DiffusionForcingPipeline.generate_timestep_matrix(
        None, LATENT_FRAMES, times, LATENT_FRAMES, AR_STEP, 0, BLOCK
    )
    loop = Forcing(made[0], made[2], made[3], BLOCK, Run(Schedule.counted(len(made[0]))))
    latents, found = torch.zeros(1, 1, LATENT_FRAMES, 1, 1), list[Needed]()
    for step, now in enumerate(made[0]):
        found.append(one := loop.needed(step, 0, latents, now[None]))
        if one.known < one.first:
            loop.keep(0, one, latents, now[None], [])
    return found


def picture() -> str:
    """A line for each block, a character for each step."""
    steps = needed()
    rows = ["".join(_mark(one, block * BLOCK) for one in steps) for block in range(LATENT_FRAMES // BLOCK)]
    lines = [f"block {number}  {row}" for number, row in enumerate(rows, 1)]
    every, left_out = "".join(rows), "".join(rows).count(".")
    share = f"{len(every) - left_out} of {len(every)} block calls are computed"
    return "\n".join(
        ("```text", *lines, "", f"# computed   k computed to be kept   . left out: {share}", "```")
    )


def tables(rows: Sequence[Row]) -> str:
    """Both tables; a sentence where nothing was measured."""
    if not rows:
        return "Nothing was measured for this page yet; `benchmarks/shared_prefix.py` does that on a GPU."
    device = ", ".join(sorted({f"{row['device']} with torch {row['torch']}" for row in rows}))
    about = f"On one {device}, models of full size with random weights in bfloat16, without guidance."
    far = max(row["error"] for row in rows if "error" in row)
    near = f"Both ways differ by {far:.1g} of the result at most, by rounding to bfloat16."
    return "\n".join((f"{about} {near}", "", *_loops(rows), "", *_steps(rows)))


def _mark(one: Needed, frame: int) -> str:
    if not one.known <= frame < one.end:
        return "."
    return "#" if frame >= one.first else "k"


def _loops(rows: Sequence[Row]) -> Iterator[str]:
    yield "| SkyReels-V2 1.3B, a denoising loop | as written, s | shared, s | gain | blocks | GiB at most |"
    yield "|---|---|---|---|---|---|"
    for slow, fast in _pairs(rows, "skyreels"):
        name = f"{slow['makes']}, {slow['steps']} steps, `ar_step` {slow['ar_step']}"
        times = f"{slow['seconds']:.1f} | {fast['seconds']:.1f} | {slow['ratio']:.1f}x"
        memory = f"{slow['peak_gib']:.1f}, shared {fast['peak_gib']:.1f}"
        yield f"| {name} | {times} | {slow['blocks']}, shared {fast['blocks']} | {memory} |"


def _steps(rows: Sequence[Row]) -> Iterator[str]:
    yield "| causal Wan 1.3B, frames before | all computed, ms | shared, ms | gain | commit, ms | GiB held |"
    yield "|---|---|---|---|---|---|"
    for slow, fast in _pairs(rows, "wan"):
        before, after, commit = (
            f"{1000 * seconds:.0f}" for seconds in (slow["seconds"], fast["seconds"], fast["commit_seconds"])
        )
        gain = f"{fast['ratio']:.1f}x | {commit} | {fast['held_gib']:.1f}"
        yield f"| {fast['prefix']}, {fast['makes']} | {before} | {after} | {gain} |"


def _pairs(rows: Sequence[Row], what: str) -> Iterator[tuple[Row, Row]]:
    """The rows of the same run computed and shared, one pair for each."""
    found: dict[Any, dict[str, Row]] = {}
    for row in _of(rows, what):
        found.setdefault((row["makes"], row.get("prefix")), {})[row["way"]] = row
    return ((pair["computed"], pair["shared"]) for pair in found.values())


def _of(rows: Sequence[Row], what: str) -> list[Row]:
    return [row for row in rows if row["what"] == what]


def page(text: str, rows: Sequence[Row]) -> str:
    """The page with what belongs between its marks."""
    for name, found in (("blocks", picture()), ("rows", tables(rows))):
        marks = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)"
        text = re.sub(marks, lambda at, found=found: f"{at[1]}{found}\n{at[2]}", text, flags=re.DOTALL)
    return text


def measured() -> list[Row]:
    """The rows, as far as there are any."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    return written({PAGE: page(PAGE.read_text(), measured())}, parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
