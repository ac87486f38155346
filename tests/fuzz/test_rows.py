"""Changed files of rows: refused in one line, or drawn. No row is lost, and no other file is shown."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.disk.errors import FileError
from skipstone.report.page import page
from skipstone.report.rows import MEASURED, SWEEP, RowFile, read_rows
from support.measured import HEADER, row
from support.mutations import changed_bytes, changed_values, check_refusal, fuzzed

PRIVATE = b"PRIVATE" * 9

SHOWN = {"clip": "own.webp", "difference": "own.webp"}

ROWS: list[dict[str, Any]] = [
    {**HEADER, "prompts": ["p0"], "methods": ["fora"]},
    {**row("uncached"), "clip": "own.webp"},
    row("repeat"),
    row("plain", steps=5, **SHOWN),
    row(**SHOWN, expected_errors=[None, 0.1], not_measured={"vmaf": "it needs a video"}, psnr_frames=[30.0]),
    {**row("search"), "work_share": 0.5},
]


def lines(rows: Any) -> bytes:
    found = rows if isinstance(rows, list) else [rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in found)


by_value = changed_values(ROWS).map(lines)
texts = st.one_of(by_value, by_value, changed_bytes(lines(ROWS)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rows and their clip, beside a private file that a link in the folder leads to."""
    folder = tmp_path_factory.mktemp("outside") / "report"
    folder.mkdir()
    (folder / "own.webp").write_bytes(b"own")
    (folder.parent / "private.webp").write_bytes(PRIVATE)
    (folder / "link.webp").symlink_to(folder.parent / "private.webp")
    return folder


@fuzzed
@given(text=texts)
def test_changed_rows_are_drawn_or_refused(folder: Path, text: bytes) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(text)
    try:
        rows = read_rows(path)
    except FileError as error:
        check_refusal(error, "rows.jsonl")
        return
    whole = [line for line in text.split(b"\n") if line.strip()]
    # Only the last line may be torn.
    assert len(whole) - 1 <= len(rows) <= len(whole)
    kinds = {row["kind"] for row in rows}
    if SWEEP not in kinds or not kinds & {*MEASURED}:
        return
    drawn = page(rows, folder)
    assert base64.b64encode(PRIVATE).decode() not in drawn
    assert not re.search(r"(>|\"|\s)-?(nan|inf)(x|%)?(<|\")", drawn)


@fuzzed
@given(text=texts)
def test_appending_loses_no_row(folder: Path, text: bytes) -> None:
    path = folder / "grown.jsonl"
    path.write_bytes(text)
    try:
        RowFile(path).append(row(prompt="new"))
    except FileError as error:
        check_refusal(error, "grown.jsonl")
        assert path.read_bytes() == text
        return
    after = path.read_bytes()
    assert after.startswith(text[: text.rfind(b"\n") + 1])
    assert json.loads(after.splitlines()[-1])["prompt"] == "new"
