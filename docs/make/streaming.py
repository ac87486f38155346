"""Write what was measured of pebble-stream into streaming.md, from the rows; ``--check`` says if stale."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from written import written

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "benchmarks/rows"
BEGIN, END = "<!-- measured: python docs/make/streaming.py -->\n", "<!-- end of measured -->\n"

Row = dict[str, Any]

SETTINGS = ("steps", "guidance", "context", "frames")
SHIPPED = (8, 1.0, 0.1, 400)
"""How pebble-stream makes videos where nothing else is asked for, and the length that is asked for here."""

LEAST = 0.8
"""The share of its first sharpness that a video should keep to its end."""

CHUNK = """One chunk of pebble-stream with a full window, {steps} steps, on a CPU
(`benchmarks/stream_chunk.py`, medians of {rounds} rounds in which the ways take turns; keeping the chunk at
its end is counted):

| the frames before it | its steps | speed |
|---|---|---|
"""

WAYS = {
    "computed": ("computed again on each step", "all computed"),
    "shared": ("kept", "all computed"),
    "shared, fora": ("kept", "every second computed (`fora`)"),
}

LONG = """
Long videos of pebble-stream, of {frames} frames of {count} prompts (`benchmarks/pebble_stream.py`, {device}).
*Sharpness* is the energy of the differences between neighbouring pixels in the last tenth of the frames,
divided by that in the first; it grows with what grows in the video, and where an object has the colour of its
background there is nothing to be sharp.

| background asked for | videos right in all chunks | sharpness of all | median | least | at least {least} |
|---|---|---|---|---|---|
"""

PICTURE = """
![Six videos of pebble-stream, each at nine times](streaming.webp)

Six of them, every fiftieth frame: a pack of french fries grows, a fire engine bounces, a banana shakes, a
soccer ball spins, an alien monster and a present fall.
"""


def rows_of(name: str) -> list[Row]:
    return [json.loads(line) for line in (ROWS / name).read_text().splitlines()]


def chunk(rows: Sequence[Row]) -> Iterator[str]:
    """How much faster a chunk is with what is kept, and with a cache on top."""
    seconds = {row["way"]: row["median"] for row in rows}
    yield CHUNK.format(steps=rows[0]["steps"], rounds=len(rows[0]["seconds"]))
    for way, cells in WAYS.items():
        yield f"| {' | '.join(cells)} | {seconds['computed'] / seconds[way]:.1f} |\n"


def long_videos(rows: Sequence[Row]) -> Iterator[str]:
    """Backgrounds and sharpness of the videos as shipped."""
    ratios = sorted(row["gradient"][-1] / row["gradient"][0] for row in rows)
    first, last = (sum(row["gradient"][end] for row in rows) for end in (0, -1))
    right = [[found == row["asked"] for found in row["backgrounds"]] for row in rows]
    chunks = [one for video in right for one in video]
    yield LONG.format(frames=SHIPPED[-1], count=len(rows), device="NVIDIA H200", least=LEAST)
    yield (
        f"| {sum(chunks) / len(chunks):.1%} of {len(chunks)} chunks | {sum(map(all, right))} of {len(rows)} "
        f"| {last / first:.2f} | {ratios[len(ratios) // 2]:.2f} | {ratios[0]:.2f} "
        f"| {sum(ratio >= LEAST for ratio in ratios)} of {len(rows)} |\n"
    )


def measured() -> str:
    """All that stands between the marks of the page."""
    shipped = [row for row in rows_of("pebble_stream.jsonl") if tuple(map(row.get, SETTINGS)) == SHIPPED]
    return "".join((*chunk(rows_of("stream_chunk.jsonl")), *long_videos(shipped), PICTURE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/streaming.md")
    asked = parser.parse_args()
    before, _, rest = asked.page.read_text().partition(BEGIN)
    text = before + BEGIN + measured() + END + rest.partition(END)[2]
    return written({asked.page: text}, asked.check)


if __name__ == "__main__":
    sys.exit(main())
