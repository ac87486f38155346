"""Which runs a report shows as clips: the worst run of each setting."""

import base64
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.disk.reading import read_bytes
from skipstone.metrics.comparison import METRICS
from skipstone.report.columns import TYPES
from skipstone.report.rows import CACHED, PLAIN, UNCACHED, unit_of
from skipstone.report.summary import Line

MEGABYTES = 14.0
"""The most that the clips of a page take by default."""

AS_TEXT = 4 / 3
"""How much longer a clip becomes as text (base64)."""


@dataclass(frozen=True)
class WorstCase:
    """One run, with the clips that show it.

    Args:
        line: the setting.
        row: the run.
        clips: the paths of the clips ``uncached``, ``cached`` and ``difference``; empty if they are missing
            or the page is full.
    """

    line: Line
    row: Mapping[str, Any]
    clips: Mapping[str, str]


def cases(lines: Sequence[Line], name: str | None, folder: Path, megabytes: float) -> list[WorstCase]:
    """The worst run of each setting, worst first; the first ones are shown with clips.

    Args:
        lines: all settings.
        name: the metric that decides what is worst; None if nothing was measured.
        folder: the paths of clips are relative to it.
        megabytes: the most that the clips take in the page.
    """
    if name is None:
        return []
    metric = METRICS[name]
    found = [(line, line.worst_row(metric)) for line in lines if line.kind in (CACHED, PLAIN)]
    sign = 1 if metric.higher_is_better else -1
    found.sort(key=lambda case: sign * case[1].get(name, -sign * math.inf))
    # Readers look for the caches first; fewer plain steps follow.
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
    if all(path is not None and _is_inside(folder / path, folder) for path in named.values()):
        return {title: str(path) for title, path in named.items()}
    return {}


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a file exists and no link leads out of the folder: what is shown may be shared."""
    return os.path.isfile(path) and path.resolve().is_relative_to(folder.resolve())


def data_url(path: Path) -> str:
    """A file as a data URL."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(read_bytes(path)).decode()}"
