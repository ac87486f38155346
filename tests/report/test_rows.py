"""Rows on disk: kept, torn, shared, refused."""

import json
from pathlib import Path

import pytest

from skipstone.report.rows import RowFile, read_rows
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


@pytest.mark.parametrize("line", ["nonsense", '{"schema": 99}', "[]", '{"kind": "cached"}'])
def test_other_rows_are_refused_with_their_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).append(row())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"rows.jsonl:2 is (no row of a report|of schema)"):
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
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_two_sweeps_do_not_mix(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.jsonl")
    file.append(HEADER)
    file.check(HEADER)
    with pytest.raises(ValueError, match=r"rows of another sweep \(dtype float32, not bfloat16\)"):
        file.check({**HEADER, "dtype": "bfloat16"})
