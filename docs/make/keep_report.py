"""Keep a measured report of a bundled model in this folder: python docs/make/keep_report.py FOLDER NAME

FOLDER holds `rows.jsonl` and `rows_clips`, as `skipstone report` left them. `report/NAME` gets a page whose
clips take few megabytes, and the rows without the search for settings, the values of single frames and the
clips.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipstone.report import read_rows, write_page
from skipstone.report.rows import SEARCH

MEGABYTES = 2.5


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row the pages show."""
    return {
        key: value
        for key, value in row.items()
        if key not in ("clip", "difference") and not key.endswith("_frames")
    }


def main() -> None:
    source, name = sys.argv[1:]
    folder = Path(__file__).parents[1] / "report" / name
    folder.mkdir(parents=True, exist_ok=True)
    measured = read_rows(Path(source) / "rows.jsonl")
    rows = [kept(row) for row in measured if row["kind"] != SEARCH]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_page(measured, folder / "report.html", Path(source), MEGABYTES)


if __name__ == "__main__":
    main()
