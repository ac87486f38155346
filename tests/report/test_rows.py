"""Rows on disk: kept, torn, shared, refused."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from skipstone.disk.appending import LOCK, append
from skipstone.disk.errors import FileError
from skipstone.report.rows import OPENING, RowFile, check_writable, read_rows
from support.measured import HEADER, row


def test_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).append(row(prompt="a"))
    again = RowFile(path)
    again.append(row(prompt="b"))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a", "b"]
    assert row(prompt="a", psnr=1.0) in again
    assert row(prompt="c") not in again
    assert again.matching(row(prompt="a", psnr=1.0)) == row(prompt="a")


def test_a_torn_last_line_is_left_out_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).append(row(prompt="a"))
    with path.open("a") as file:
        file.write(json.dumps(row(prompt="b"))[:40])
    torn = RowFile(path)
    assert [kept["prompt"] for kept in torn.rows] == ["a"]
    torn.append(row(prompt="c"))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a", "c"]


@pytest.mark.parametrize("line", ["nonsense", '{"schema": 99}', "[]", '{"kind": "cached"}', "[" * 1000])
def test_other_rows_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).append(row())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"rows.jsonl:2' is (no row of a report|of schema)"):
        read_rows(path)


def test_the_rows_of_other_processes_are_taken_in_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first, second = RowFile(path), RowFile(path, share=1)
    first.append(row(prompt="a"))
    second.append(row(prompt="a"))
    second.append(row(prompt="b"))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a"]
    first.absorb()
    assert [kept["prompt"] for kept in read_rows(path)] == ["a", "b"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [LOCK, "rows.jsonl"]


NAMES = [
    "rows[1].jsonl", "[final].jsonl", "rows?.jsonl", "r*.jsonl", "a b ü.jsonl", "{a,b}.jsonl",
    "rows+(1).jsonl",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_hold_any_characters(tmp_path: Path, name: str) -> None:
    """Those of other files that a pattern would match are left alone."""
    names = ("rows", "rows1", "ra", "a", "rows.part-1")
    others = [RowFile(tmp_path / f"{other}.jsonl", share=1) for other in names]
    for other in others:
        other.append(row(prompt="of others"))
    first, second = RowFile(tmp_path / name), RowFile(tmp_path / name, share=1)
    second.append(row(prompt="a"))
    first.absorb()
    assert [kept["prompt"] for kept in read_rows(tmp_path / name)] == ["a"]
    assert len(list(tmp_path.glob("*.part-1.jsonl"))) == len(others)


def test_a_last_line_that_lacks_only_its_newline_is_a_row(tmp_path: Path) -> None:
    """An editor may have taken it away."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(prompt="a")))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a"]
    RowFile(path).append(row(prompt="b"))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a", "b"]


@pytest.mark.parametrize("text", ["my notes", "{}x", '{"a": 1'])
def test_what_is_no_torn_row_is_not_cut_off(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(FileError, match="no row of a report"):
        RowFile(path)
    with pytest.raises(FileError, match="it ends in something else; name another file"):
        append(path, [b"{}"], OPENING)
    assert path.read_text() == text


def test_rows_are_not_appended_to_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    for attempt in (RowFile, check_writable):
        with pytest.raises(FileError, match="it is no file; name another file"):
            attempt(tmp_path / "rows.jsonl")


def test_zeros_that_a_crash_left_are_a_torn_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).append(row(prompt="a"))
    with path.open("ab") as file:
        file.write(b'{"sche' + b"\0" * 99)
    RowFile(path).append(row(prompt="b"))
    assert [kept["prompt"] for kept in read_rows(path)] == ["a", "b"]


def test_a_full_disk_leaves_the_rows_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path)
    file.append(row(prompt="a"))
    before = path.read_bytes()

    def full(descriptor: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device; free some space"):
        file.append(row(prompt="b"))
    assert path.read_bytes() == before
    assert row(prompt="b") not in file


def test_a_metric_that_is_no_number_is_a_row_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = RowFile(path)
    file.append(row(psnr=math.nan, psnr_frames=[math.nan], ssim=0.5, ssim_low=0.5, ssim_worst=0.5))
    (kept,) = read_rows(path)
    assert "NaN" not in path.read_text()
    assert not any(name.startswith("psnr") for name in kept)
    assert kept["ssim"] == 0.5
    assert kept["not_measured"] == {"psnr": "it came out as nan, which is no number"}
    assert file.rows == [kept]


DAMAGED: dict[str, dict[str, Any]] = {
    "a time of nothing": {"loop_seconds": 0},
    "no steps": {"steps": 0},
    "a name that is a number": {"method": 3},
    "a method without a name": {"method": ""},
    "endless steps": {"steps": math.inf},
    "metrics that are words": {"psnr": "good"},
    "a metric beyond all measure": {"psnr": 1e300},
    "half a metric": {"psnr_low": None},
    "marks of no strip": {"strip": "#<b>"},
    "a clip elsewhere": {"clip": "/etc/passwd.webp"},
    "a clip above": {"clip": "a/../../private.webp"},
    "a clip of another kind": {"clip": "a/private.txt"},
    "reasons as a list": {"not_measured": []},
    "parts as a word": {"parts": "attention"},
}  # fmt: skip


@pytest.mark.parametrize("changes", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_row_is_refused_with_its_place_and_column(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**row(), **changes}) + "\n")
    (column,) = changes
    said = rf"rows.jsonl:1' is damaged: .*{column.removesuffix('_low')}.*; delete the line"
    with pytest.raises(FileError, match=said):
        read_rows(path)
    with pytest.raises(FileError, match="is damaged"):
        RowFile(path).check(HEADER)


@pytest.mark.parametrize("made", [row(), HEADER, row("uncached")], ids=["cached", "sweep", "uncached"])
def test_a_row_without_a_column_is_refused(tmp_path: Path, made: dict[str, Any]) -> None:
    path = tmp_path / "rows.jsonl"
    for column in {*made} - {"not_measured", "parts", "computed_steps"}:
        path.write_text(json.dumps({name: value for name, value in made.items() if name != column}) + "\n")
        with pytest.raises(FileError, match=r"rows\.jsonl:1'"):
            read_rows(path)


def test_two_sweeps_do_not_mix(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.jsonl")
    file.append(HEADER)
    file.check(HEADER)
    with pytest.raises(ValueError, match=r"rows of another sweep \(dtype float32, not bfloat16\)"):
        file.check({**HEADER, "dtype": "bfloat16"})
