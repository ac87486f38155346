"""What runs of plans have shown, kept on disk: a calibration that was interrupted goes on where it was."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from skipstone.disk.appending import append, check_file, is_torn, locked
from skipstone.disk.reading import Name, Schema, parsed, read_bytes
from skipstone.pipelines.planning import autoplan
from skipstone.pipelines.planning.conditions import digest
from skipstone.schedules.calibration import Shown
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import Profile

SCHEMA = 1
"""The version of a line."""

OPENING = b'{"schema": '
"""What every line begins with."""

Values = Annotated[list[float], Field(max_length=10**6)]


class Line(Schema):
    """One run: what it was of, and what it showed, as of `Shown`."""

    version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    key: Name
    values: Values
    psnr: Values
    deviations: Values

    def shown(self) -> Shown:
        return Shown(tuple(self.values), tuple(self.psnr), tuple(self.deviations))


class Measurements:
    """The runs of one kind; each is kept as soon as it was made.

    Args:
        path: the file; None to keep them in memory only.

    Raises:
        FileError: the file cannot be read, or is damaged.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known = {line.key: line.shown() for line in _lines(path)} if path is not None else {}

    def of(self, key: str) -> Shown | None:
        """What a run has shown; None if it is not known."""
        return self._known.get(key)

    def add(self, key: str, shown: Shown) -> None:
        """Keep what a run has shown; it is on disk when this returns.

        Raises:
            FileError: it cannot be written.
        """
        self._known[key] = shown
        if self._path is None:
            return
        values = {name: list(getattr(shown, name)) for name in ("values", "psnr", "deviations")}
        line = json.dumps({"schema": SCHEMA, "key": key, **values}, allow_nan=False)
        with locked(self._path):
            append(self._path, [line.encode()], OPENING)


def kept(call: Any) -> Measurements:
    """The measurements of calls like this one, in the folder of records; in memory where there is none.

    Args:
        call: what tells these calls from others, as plain values.
    """
    folder = autoplan.records_folder()
    if folder is None:
        return Measurements(None)
    try:
        (folder / "calibrations").mkdir(parents=True, exist_ok=True)
    except OSError:
        return Measurements(None)
    return Measurements(folder / "calibrations" / f"{digest(call)}.jsonl")


def key_of(plan: Plan, *what: Any) -> str:
    """The key of a run: its plan, and what else tells it from others."""
    return digest([_of_record(plan.record), str(plan.recipe), plan.strip, *what])


@lru_cache(maxsize=1)
def _of_record(record: Profile) -> str:
    """The digest of what a plan's steps and weights come from."""
    return digest({**record.as_dict(), "skip_cost": None})


def _lines(path: Path) -> list[Line]:
    if not path.exists():
        return []
    check_file(path)
    *lines, tail = read_bytes(path).split(b"\n")
    whole = lines if is_torn(tail, OPENING) else [*lines, tail]
    return [
        parsed(line, Line, repr(f"{path}:{number}"), "delete the file")
        for number, line in enumerate(whole, 1)
        if line.strip()
    ]
