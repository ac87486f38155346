"""The measurements on disk: one JSON object a line, only ever added to, and still readable when torn."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skipstone.metrics import media

SCHEMA = 1
"""The layout of the rows. Rows of another one are refused."""

Row = Mapping[str, Any]

MEASURED = UNCACHED, REPEAT, PLAIN, CACHED = "uncached", "repeat", "plain", "cached"
"""The kinds of timed rows: the reference, the same once more, fewer steps without a cache, and a method."""

SEARCH = "search"
"""A row of the search for settings: how much of one run a setting computes."""

SWEEP = "sweep"
"""A row that says what the others were measured on."""

IDENTITY = ("kind", "method", "setting", "steps_asked", "prompt", "seed")
"""What tells one measurement from another."""

SAME = ("model", "pipeline", "arguments", "dtype", "metrics")
"""What all rows of a file must agree on."""


def identity(row: Row) -> Hashable:
    """What a row measured, as a key."""
    return tuple(row.get(name) for name in IDENTITY)


def unit_of(row: Row) -> tuple[str, int]:
    """The prompt and the seed, which runs that are compared have in common."""
    return row["prompt"], row["seed"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a torn last line is left out.

    Raises:
        ValueError: the file cannot be read, a line is no row, or the rows are of another schema.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ValueError(f"cannot read the rows {str(path)!r}: {error.strerror}") from None
    # What comes after the last newline was cut off while it was written.
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], 1) if line.strip()]


def _parsed(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise ValueError(f"{place} is no row of a report: {line[:60]!r}") from None
    schema = row.get("schema") if isinstance(row, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{place} is of schema {schema!r}, and this skipstone reads schema {SCHEMA}")
    return dict(row)


def check_writable(path: Path) -> None:
    """Refuse a file that rows cannot be added to.

    Raises:
        ValueError: another ending than jsonl, a folder that is missing or not writable, or a file that holds
            something else than rows.
    """
    media.check_extension(path, (".jsonl",))
    media.check_folder(path)
    if path.exists():
        read_rows(path)


class RowFile:
    """Rows that grow, in a file or, without one, in memory only.

    Args:
        path: the file; its rows are kept.
        share: which of several processes this is. Others than the first write into files of their own beside
            it, which `absorb` takes in.

    Raises:
        ValueError: the file exists and holds something else than rows.
    """

    def __init__(self, path: Path | None, share: int = 0) -> None:
        self._path, self._share = path, share
        self.rows: list[dict[str, Any]] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the file again, which others may have added to."""
        if self._path is not None and self._path.exists():
            self.rows = read_rows(self._path)
        self._known = {identity(row) for row in self.rows}

    def __contains__(self, row: Row) -> bool:
        return identity(row) in self._known

    def matching(self, row: Row) -> dict[str, Any] | None:
        """The kept row of the same measurement."""
        return next((kept for kept in self.rows if identity(kept) == identity(row)), None)

    def append(self, row: Row) -> None:
        """Keep a row; it is on disk when this returns."""
        whole = {"schema": SCHEMA, **row}
        self.rows.append(whole)
        self._known.add(identity(whole))
        if self._path is not None:
            _append(_part(self._path, self._share), [whole])

    def absorb(self) -> None:
        """Take the rows of other processes into the file, when they are done; for the first process only."""
        assert self._share == 0
        for part in _parts(self._path):
            assert self._path is not None
            found = [row for row in read_rows(part) if identity(row) not in self._known]
            _append(self._path, found)
            self.rows += found
            self._known |= {identity(row) for row in found}
            part.unlink()

    def check(self, about: Row) -> None:
        """Refuse to mix two sweeps in one file.

        Raises:
            ValueError: the file's rows were measured on something else.
        """
        for header in (row for row in self.rows if row["kind"] == SWEEP):
            for name in SAME:
                if header.get(name) != json.loads(json.dumps(about.get(name))):
                    raise ValueError(
                        f"{self._path} holds rows of another sweep ({name} {header.get(name)}, not "
                        f"{about.get(name)}): name another file, or delete it"
                    )


def _part(path: Path, share: int) -> Path:
    return path if share == 0 else path.with_name(f"{path.stem}.part-{share}{path.suffix}")


def _parts(path: Path | None) -> Iterator[Path]:
    return iter(()) if path is None else iter(sorted(path.parent.glob(f"{path.stem}.part-*{path.suffix}")))


def _append(path: Path, rows: Iterable[Row]) -> None:
    """Add lines after the last whole one."""
    with path.open("ab+") as file:
        file.truncate(_end_of_lines(path))
        file.write(b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))


def _end_of_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
