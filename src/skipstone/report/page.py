"""A sweep as one HTML file, which needs no network, no server and no other script."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.disk.writing import write_text
from skipstone.metrics.comparison import METRICS, Metric, said
from skipstone.printable import printable
from skipstone.report import drawing
from skipstone.report.cases import MEGABYTES, WorstCase, cases, data_url
from skipstone.report.previews import GAIN
from skipstone.report.rows import PLAIN, REPEAT, SWEEP, UNCACHED
from skipstone.report.standing import foremost
from skipstone.report.summary import Line, left_out, summarise
from skipstone.report.to_copy import in_python, on_the_command_line
from skipstone.report.verdict import deciding_metric, verdict

FOLDER = Path(__file__).parent / "page"
"""The template, the style and the script."""

KINDS = {UNCACHED: "reference", REPEAT: "noise floor", PLAIN: "fewer steps"}
"""The names of lines without a method."""


FEW = 5
"""How many methods are drawn at first where there are more than colours."""


@dataclass(frozen=True)
class Curve:
    """The plots of one metric: of all methods, and of the foremost ones if there are many."""

    metric: Metric
    svg: str
    foremost: str


def write_page(
    rows: Sequence[Mapping[str, Any]], path: Path, folder: Path, megabytes: float = MEGABYTES
) -> None:
    """Write the report of a sweep.

    Args:
        rows: from `sweep` or `read_rows`.
        path: the HTML file, replaced if it exists.
        folder: the folder of the rows; the paths of clips are relative to it.
        megabytes: the most that the clips take in the file.

    Raises:
        FileError: the file cannot be written; what was there is unchanged.
        ValueError: the rows hold no measurements.
    """
    write_text(path, page(rows, folder, megabytes))


def page(rows: Sequence[Mapping[str, Any]], folder: Path, megabytes: float = MEGABYTES) -> str:
    """The report of a sweep as HTML; arguments as of `write_page`.

    Raises:
        ValueError: the rows hold no measurements.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    lines, sweeps = summarise(rows), [row for row in rows if row["kind"] == SWEEP]
    if not lines or not sweeps:
        raise ValueError("the rows hold no measurements: let the report run, or name another file")
    deciding = deciding_metric(lines)
    best = _foremost(lines, deciding)
    drawn = _first(best, lines)
    shown = cases(lines, deciding, folder, megabytes)
    surroundings = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    text = surroundings.get_template("page.html").render(
        about=sweeps[-1],
        sweeps=sweeps,
        left_out=left_out(rows),
        verdict=verdict(lines),
        lines=lines,
        metrics=[metric for metric in METRICS.values() if any(metric.name in x.scores for x in lines)],
        not_measured=_not_measured(lines),
        curves=list(_curves(drawn, deciding, best)),
        series=list(enumerate(drawing.series(drawn))),
        best=best,
        cases=shown,
        clips=json.dumps(_clips(shown, folder)),
        gain=GAIN,
        kinds=KINDS,
        drawing=drawing,
        said=said,
        in_python=in_python,
        on_the_command_line=on_the_command_line,
        is_video=sweeps[-1]["fps"] is not None,
        prompts={row["prompt"] for line in lines for row in line.rows},
        seeds={row["seed"] for line in lines for row in line.rows},
        runs=sum(len(line.rows) for line in lines),
    )
    return printable(text)


def _foremost(lines: Sequence[Line], deciding: str | None) -> list[str]:
    """The methods that are drawn at first; empty if all are."""
    many = len(drawing.series(lines)) - 1 > drawing.COLOURS
    return foremost(lines, deciding, FEW) if many and deciding else []


def _first(best: Sequence[str], lines: Sequence[Line]) -> list[Line]:
    """The lines of some methods before the others, so that these have colours of their own."""
    return sorted(lines, key=lambda line: best.index(line.method) if line.method in best else len(best))


def _curves(lines: Sequence[Line], deciding: str | None, best: Sequence[str]) -> Iterator[Curve]:
    """The plots of each metric; the deciding metric comes first."""
    for metric in sorted(METRICS.values(), key=lambda metric: metric.name != deciding):
        svg = drawing.curves(lines, metric)
        if svg:
            yield Curve(metric, svg, drawing.curves(lines, metric, methods=best) if best else "")


def _not_measured(lines: Sequence[Line]) -> dict[str, str]:
    """Why metrics are missing, by title."""
    return {
        METRICS[name].title if name in METRICS else name: reason
        for line in lines
        for row in line.rows
        for name, reason in row.get("not_measured", {}).items()
    }


def _clips(shown: Sequence[WorstCase], folder: Path) -> dict[str, str]:
    """Every clip once, by its path."""
    return {path: data_url(folder / path) for case in shown for path in case.clips.values()}
