"""Write how good ComfyUI's nodes are into docs/comfyui.md, from the rows of benchmarks/comfyui_nodes.py."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/comfyui.jsonl", ROOT / "docs/comfyui.md"
TABLE = "<!-- comfyui: python docs/make/comfyui_table.py -->\n", "<!-- end of comfyui -->"
SAID = "<!-- said: python docs/make/comfyui_table.py -->\n", "<!-- end of said -->"

WAYS = ("pipeline", "plan file", "own record")

Row = dict[str, Any]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each model and number of computed steps."""
    yield "| model, steps | apart | computed | pipeline | nodes, the same plan | nodes, own record |"
    yield "|---|---|---|---|---|---|"
    apart = {row["model"]: row["apart"] for row in rows if row["what"] == "uncached"}
    for row in rows:
        if row["what"] == "planned":
            cells = " | ".join(mean_and_worst(row["psnr"][way]) for way in WAYS)
            model = f"`{row['model']}`, {row['steps']} | {apart[row['model']]:.0e}"
            yield f"| {model} | {row['computed']} | {cells} |"


def mean_and_worst(psnr: Sequence[float]) -> str:
    return f"{sum(psnr) / len(psnr):.1f}, {min(psnr):.1f}"


def said(rows: Sequence[Row]) -> list[str]:
    """What the node tells of the first planned run."""
    first = next(row for row in rows if row["what"] == "planned")
    return ["```text", first["said"], "```"]


def with_rows(page: str, rows: Sequence[Row]) -> str:
    """The page with the text and the table between their marks."""
    for (begin, end), lines in ((SAID, said(rows)), (TABLE, table(rows))):
        before, _, rest = page.partition(begin)
        page = before + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2]
    return page


def known() -> list[Row]:
    """The measured rows."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()]


if __name__ == "__main__":
    PAGE.write_text(with_rows(PAGE.read_text(), known()))
