"""Which runs a report shows with their pictures: for each setting the one that came out worst."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.metrics.comparison import METRICS
from skipstone.report.rows import CACHED, PLAIN, UNCACHED, unit_of
from skipstone.report.summary import Line

MEGABYTES = 14.0
"""What the clips of a page take at most, unless told otherwise."""

AS_TEXT = 4 / 3
"""How much longer a clip is when it is written as text."""

TYPES = {".mp4": "video/mp4", ".webp": "image/webp"}


@dataclass(frozen=True)
class WorstCase:
    """One run, with the clips that show it.

    Args:
        line: the setting.
        row: the run.
        clips: ``uncached``, ``cached`` and ``difference``, each the path of a clip; empty where they are gone
            or there are too many.
    """

    line: Line
    row: Mapping[str, Any]
    clips: Mapping[str, str]


def cases(lines: Sequence[Line], name: str | None, folder: Path, megabytes: float) -> list[WorstCase]:
    """The worst run of each setting, worst first; those that come first have the pictures.

    Args:
        lines: all settings.
        name: the metric that says what is worst, None where nothing was measured.
        folder: what the paths of clips are relative to.
        megabytes: what the clips may take in the page.
    """
    if name is None:
        return []
    metric = METRICS[name]
    found = [(line, line.worst_row(metric)) for line in lines if line.kind in (CACHED, PLAIN)]
    found.sort(key=lambda case: case[1][name], reverse=not metric.higher_is_better)
    # What people come for are the caches; the fewer steps follow.
    found.sort(key=lambda case: case[0].kind == PLAIN)
    uncached = {unit_of(row): row for line in lines if line.kind == UNCACHED for row in line.rows}
    return list(_within(megabytes, found, uncached, folder))


def _within(
    megabytes: float,
    found: Sequence[tuple[Line, Mapping[str, Any]]],
    uncached: Mapping[Any, Mapping[str, Any]],
    folder: Path,
) -> Iterator[WorstCase]:
    spent: dict[str, int] = {}
    for line, row in found:
        clips = _clips(row, uncached.get(unit_of(row), {}), folder)
        sizes = {**spent, **{path: (folder / path).stat().st_size for path in clips.values()}}
        fits = sum(sizes.values()) * AS_TEXT <= megabytes * 1e6
        spent = sizes if fits else spent
        yield WorstCase(line, row, clips if fits else {})


def _clips(row: Mapping[str, Any], reference: Mapping[str, Any], folder: Path) -> dict[str, str]:
    named = {
        "uncached": reference.get("clip"),
        "cached": row.get("clip"),
        "difference": row.get("difference"),
    }
    if all(path is not None and (folder / path).is_file() for path in named.values()):
        return {title: str(path) for title, path in named.items()}
    return {}


def data_url(path: Path) -> str:
    """A file as part of a page."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
