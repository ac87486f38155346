"""What a tiny sweep is made of: its pipeline and prompts, its size on the command line, and rows compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from support import saved

SMALL = ["--size", "32x32", "--frames", "5", "--steps", "6", "--metrics", "psnr,flicker"]
PROMPTS = ["a red apple", "a blue apple bounces"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny text-to-video pipeline."""
    return str(saved.save_wan(tmp_path_factory.mktemp("wan")))


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("\n".join(PROMPTS))
    Path("empty.txt").write_text("\n")
    Path("old.jsonl").write_text('{"schema": 0}\n')
    return "prompts.txt"


def timeless(rows: list[dict[str, Any]]) -> list[str]:
    """Rows without what differs from run to run, in an order of their own."""
    timed = ("loop_seconds", "call_seconds", "speedup", "call_speedup", "command", "device")
    return sorted(
        json.dumps({k: v for k, v in row.items() if k not in timed}, sort_keys=True) for row in rows
    )


def runs_of(rows: list[dict[str, Any]]) -> list[str]:
    """`timeless` rows but the headers."""
    return timeless([row for row in rows if row["kind"] != "sweep"])
