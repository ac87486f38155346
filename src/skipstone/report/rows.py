"""The measurements on disk: one JSON object on each line, only appended to, readable after a crash."""

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skipstone.disk.appending import append, check_file, is_torn, locked
from skipstone.disk.reading import MEGABYTE, read_bytes
from skipstone.disk.writing import check_folder
from skipstone.metrics import media
from skipstone.report.columns import CACHED as CACHED
from skipstone.report.columns import MEASURED as MEASURED
from skipstone.report.columns import PLAIN as PLAIN
from skipstone.report.columns import REPEAT as REPEAT
from skipstone.report.columns import SCHEMA as SCHEMA
from skipstone.report.columns import SEARCH as SEARCH
from skipstone.report.columns import SWEEP as SWEEP
from skipstone.report.columns import UNCACHED as UNCACHED
from skipstone.report.columns import any_row_of, row_of, with_reasons

MOST = 1024 * MEGABYTE
"""The most bytes of a file of rows."""

OPENING = b'{"schema": '
"""What every line begins with."""

Row = Mapping[str, Any]

IDENTITY = ("kind", "method", "setting", "steps_asked", "prompt", "seed")
"""The values that tell one measurement from another."""

SAME = ("model", "pipeline", "arguments", "dtype", "metrics")
"""What all rows of a file must agree on."""


def identity(row: Row) -> Hashable:
    """The identity of a row's measurement, as a key."""
    return tuple(repr(row.get(name)) for name in IDENTITY)


def unit_of(row: Row) -> tuple[str, int]:
    """The prompt and the seed: runs that are compared share them."""
    return row["prompt"], row["seed"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file, without an unfinished last line.

    Raises:
        FileError: the file cannot be read, a line is not a row or is damaged, or the rows have another
            schema.
    """
    return [row_of(*line) for line in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[bytes, str]]:
    """Each line of a file and its place, without an unfinished last line."""
    *lines, tail = read_bytes(path, MOST).split(b"\n")
    if not is_torn(tail, OPENING):
        lines.append(tail)
    return ((line, repr(f"{path}:{n}")) for n, line in enumerate(lines, 1) if line.strip())


def check_writable(path: Path) -> None:
    """Refuse a file that rows cannot be appended to.

    Raises:
        ValueError: the file does not end in jsonl, its folder is missing or not writable, or it holds
            something other than rows.
    """
    media.check_extension(path, (".jsonl",))
    check_folder(path)
    check_file(path)
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
            check_file(self._path)
            self.rows = [any_row_of(*line) for line in _lines(self._path)]
        self._known = {identity(row) for row in self.rows}

    def __contains__(self, row: Row) -> bool:
        return identity(row) in self._known

    def matching(self, row: Row) -> dict[str, Any] | None:
        """The kept row of the same measurement."""
        return next((kept for kept in self.rows if identity(kept) == identity(row)), None)

    def append(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        whole = with_reasons({"schema": SCHEMA, **row})
        if self._path is not None:
            with locked(self._path):
                _append(_part(self._path, self._share), [whole])
        self.rows.append(whole)
        self._known.add(identity(whole))

    def absorb(self) -> None:
        """Take the other processes' rows into the file; only the first process does this."""
        assert self._share == 0
        if self._path is not None:
            with locked(self._path):
                for part in _parts(self._path):
                    self._take_in(part, self._path)

    def _take_in(self, part: Path, path: Path) -> None:
        self.refresh()
        found = [row for line in _lines(part) if (row := any_row_of(*line)) not in self]
        _append(path, found)
        part.unlink()
        self.refresh()

    def check(self, about: Row) -> None:
        """Refuse to mix two sweeps in one file, and to go on with damaged rows.

        Raises:
            FileError: a row is damaged.
            ValueError: the file's rows were measured on something else.
        """
        if self._path is not None and self._path.exists():
            read_rows(self._path)
        for header in (row for row in self.rows if row["kind"] == SWEEP):
            for name in SAME:
                if header.get(name) != json.loads(json.dumps(about.get(name))):
                    raise ValueError(
                        f"{self._path} holds rows of another sweep ({name} {header.get(name)}, not "
                        f"{about.get(name)}): name another file, or delete it"
                    )


def _part(path: Path, share: int) -> Path:
    return path if share == 0 else path.with_name(f"{path.stem}.part-{share}{path.suffix}")


def _parts(path: Path) -> list[Path]:
    """The files of the other processes; the name may hold any characters."""
    name = re.compile(rf"{re.escape(path.stem)}\.part-\d+{re.escape(path.suffix)}")
    return sorted(found for found in path.parent.iterdir() if name.fullmatch(found.name))


def _append(path: Path, rows: Iterable[Row]) -> None:
    lines = (json.dumps(row, allow_nan=False, ensure_ascii=False) for row in rows)
    # File names may hold bytes that are no text.
    append(path, (line.encode(errors="replace") for line in lines), OPENING)
