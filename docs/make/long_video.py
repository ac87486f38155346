"""Write the figure and the tables of long_video.md from rows; ``--check`` only says whether they are stale.

    python docs/make/long_video.py

The rows are those of `benchmarks/chunked_vae.py`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drawn import svg, text
from written import written

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- measured: python docs/make/long_video.py -->\n", "<!-- end of measured -->"
FIGURE = "long_video.svg"
MEMORY = "out of memory"

WAYS = """
### Memory and time
![The peak memory of decoding a video whole, in tiles and in chunks](long_video.svg)

*Peak* is that of torch's allocator above weights and latents, *error* the difference from the whole decode in
the same precision, relative to its size. Tiles are those of `enable_tiling()`.

| autoencoder, video | way | peak, GiB | seconds | error |
|---|---|---|---|---|
"""

LENGTHS = """
### Length
The peak of a stream, one latent frame at a time:

| autoencoder, video | latent frames | peak, GiB | seconds |
|---|---|---|---|
"""

FILES = """
### To a file
| autoencoder, video | way | seconds | first frames after, s | peak, GiB |
|---|---|---|---|---|
"""

ROUNDING = """
### Rounding
A small video with the same weights: how far bfloat16 takes it from float32, whole and in chunks.

| autoencoder | whole, from float32 | chunks, from float32 | chunks, from whole | both in float32 |
|---|---|---|---|---|
"""

Row = dict[str, Any]


def measured(rows: Sequence[Row]) -> str:
    """The section of the page."""
    if not rows:
        return ""
    named = (f"{row['device']}, torch {row['torch']}, diffusers {row['diffusers']}" for row in rows)
    machines = "; ".join(dict.fromkeys(named))
    program = "`python benchmarks/chunked_vae.py`"
    intro = f"\n## Measured\nBy {program}: full size, random weights, bfloat16 ({machines}).\n"
    sections = [
        (WAYS, [_way(row) for row in rows if row["part"] == "ways"]),
        (LENGTHS, [_length(row) for row in rows if row["part"] == "lengths"]),
        (FILES, [_file(row) for row in rows if row["part"] == "mp4"]),
        (ROUNDING, [_rounding(row) for row in rows if row["part"] == "rounding"]),
    ]
    tables = [head + "".join(lines) for head, lines in sections if lines]
    return "".join((intro, *tables, _refused(rows), _trials(rows)))


def _way(row: Row) -> str:
    return _line(_video(row), row["way"], _peak(row), _seconds(row), _error(row.get("error")))


def _length(row: Row) -> str:
    return _line(_video(row), row["latents"], _peak(row), _seconds(row))


def _file(row: Row) -> str:
    return _line(_video(row), row["way"], _seconds(row), row.get("seconds_to_first_frames", ""), _peak(row))


def _rounding(row: Row) -> str:
    names = ("whole_to_float32", "chunks_to_float32", "chunks_to_whole", "in_float32")
    return _line(f"`{row['kind']}`", *(_error(row[name]) for name in names))


def _problem(row: Row) -> str:
    """What a way did instead, in few words; empty if it ran."""
    return row["problem"] if row.get("problem") == MEMORY else "does not run" if "problem" in row else ""


def _refused(rows: Sequence[Row]) -> str:
    why = [
        f'`{row["kind"]}` {row["way"]} ("{row["problem"]}")'
        for row in rows
        if _problem(row) not in ("", MEMORY)
    ]
    return f"\nDo not run, by torch's words: {', '.join(why)}.\n" if why else ""


def _trials(rows: Sequence[Row]) -> str:
    found = [f"{row['seconds']:.0f} s for `{row['kind']}`" for row in rows if row["part"] == "trial"]
    return f"\nThe trials, once for each configuration: {', '.join(dict.fromkeys(found))}.\n" if found else ""


def _video(row: Row) -> str:
    return f"`{row['kind']}`, {row['makes']}"


def _peak(row: Row) -> str:
    return _problem(row) or ("" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}")


def _seconds(row: Row) -> str:
    return "" if row["seconds"] is None else f"{row['seconds']:.1f}"


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


LEFT, BAR, PITCH, GAP = 150, 330, 16, 26
"""Where bars begin, how long the longest is, and the distances of lines and of models."""


def figure(rows: Sequence[Row]) -> str:
    """A bar for the peak of each way; what did not fit the memory has words instead."""
    ways = [row for row in rows if row["part"] == "ways" and (row["peak_gib"] or "problem" in row)]
    most = max([row["peak_gib"] or 0 for row in ways], default=1) or 1
    parts, y = [], 0
    for video in dict.fromkeys(map(_title, ways)):
        y += GAP
        parts.append(text("title", 10, y, video))
        for row in (row for row in ways if _title(row) == video):
            y += PITCH
            parts += _bar(row, y, most)
        y += PITCH // 2
    return svg(LEFT + BAR + 110, y + GAP, "Peak memory of decoding a video", parts)


def _title(row: Row) -> str:
    return f"{row['kind']}, {row['makes']}"


def _bar(row: Row, y: int, most: float) -> Iterator[str]:
    yield text("label right", LEFT - 8, y + 10, row["way"])
    if "problem" in row:
        yield text("small", LEFT, y + 9, _problem(row))
        return
    length = BAR * row["peak_gib"] / most
    kind = "series-0" if row["way"].startswith("chunks") else "other"
    yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{PITCH - 4}"/>'
    yield text("small", LEFT + length + 6, y + 9, f"{row['peak_gib']:.1f} GiB, {row['seconds']:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rows", type=Path, default=ROOT / "benchmarks/rows/chunked_vae.jsonl")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/long_video.md")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.rows.read_text().splitlines()] if asked.rows.exists() else []
    before, _, rest = asked.page.read_text().partition(BEGIN)
    pages = {asked.page: before + BEGIN + measured(rows) + END + rest.partition(END)[2]}
    if rows:
        pages[asked.page.with_name(FIGURE)] = figure(rows)
    return written(pages, asked.check)


if __name__ == "__main__":
    sys.exit(main())
