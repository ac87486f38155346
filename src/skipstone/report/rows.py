"""The measurements on disk: one JSON object on each line, only appended to, readable after a crash."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skipstone.metrics import media

SCHEMA = 1
"""The version of the layout. Rows of another version are refused."""

Row = Mapping[str, Any]

MEASURED = UNCACHED, REPEAT, PLAIN, CACHED = "uncached", "repeat", "plain", "cached"
"""The kinds of timed rows: the reference, the reference again, fewer steps without a cache, a method."""

SEARCH = "search"
"""The kind of a search row: how much of one run a setting computes."""

SWEEP = "sweep"
"""The kind of the row that says what the others were measured on."""

IDENTITY = ("kind", "method", "setting", "steps_asked", "prompt", "seed")
"""The values that tell one measurement from another."""

SAME = ("model", "pipeline", "arguments", "dtype", "metrics")
"""What all rows of a file must agree on."""


def identity(row: Row) -> Hashable:
    """The identity of a row's measurement, as a key."""
    return tuple(row.get(name) for name in IDENTITY)


def unit_of(row: Row) -> tuple[str, int]:
    """The prompt and the seed: runs that are compared share them."""
    return row["prompt"], row["seed"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file, without an unfinished last line.

    Raises:
        ValueError: the file cannot be read, a line is not a row, or the rows have another schema.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ValueError(f"cannot read the rows {str(path)!r}: {error.strerror}") from None
    # Text after the last newline was cut off while it was written.
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
    """Refuse a file that rows cannot be appended to.

    Raises:
        ValueError: the file does not end in jsonl, its folder is missing or not writable, or it holds
            something other than rows.
    """
    media.check_extension(path, (".jsonl",))
    media.check_folder(path)
    if path.exists():
        read_rows(path)


class RowFile:
    """Rows that grow, in a file or in memory only.

    Args:
        path: the file, whose rows are kept; None for memory only.
        share: the number of this process. All processes but the first write into their own files, which
            `absorb` takes in.

    Raises:
        ValueError: the file exists and holds something other than rows.
    """

    def __init__(self, path: Path | None, share: int = 0) -> None:
        self._path, self._share = path, share
        self.rows: list[dict[str, Any]] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the file again; other processes may have appended to it."""
        if self._path is not None and self._path.exists():
            self.rows = read_rows(self._path)
        self._known = {identity(row) for row in self.rows}

    def __contains__(self, row: Row) -> bool:
        return identity(row) in self._known

    def matching(self, row: Row) -> dict[str, Any] | None:
        """The kept row of the same measurement."""
        return next((kept for kept in self.rows if identity(kept) == identity(row)), None)

    def append(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        whole = {"schema": SCHEMA, **row}
        self.rows.append(whole)
        self._known.add(identity(whole))
        if self._path is not None:
            _append(_part(self._path, self._share), [whole])

    def absorb(self) -> None:
        """Take the finished processes' rows into the file; only the first process does this."""
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
    """Append lines after the last complete one."""
    with path.open("ab+") as file:
        file.truncate(_end_of_lines(path))
        file.write(b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))


def _end_of_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
