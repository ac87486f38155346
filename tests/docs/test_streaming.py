"""The page on streaming shows what was measured."""

import shutil
from pathlib import Path

import streaming

from support.programs import run_here


def test_the_page_is_fresh() -> None:
    assert not run_here("docs/make/streaming.py", "--check"), "run: python docs/make/streaming.py"


def test_a_page_is_written_once(tmp_path: Path) -> None:
    page = tmp_path / "streaming.md"
    shutil.copy(streaming.ROOT / "docs/streaming.md", page)
    page.write_text(page.read_text().replace("| kept |", "| lost |"))
    program = ("docs/make/streaming.py", "--page", str(page))
    assert run_here(*program, "--check")
    assert not run_here(*program)
    assert page.read_text() == (streaming.ROOT / "docs/streaming.md").read_text()


def test_sharpness_and_backgrounds_are_counted() -> None:
    rows = [
        {"asked": "red", "backgrounds": ["red", "red"], "gradient": [1.0, 0.5]},
        {"asked": "blue", "backgrounds": ["blue", "red"], "gradient": [1.0, 1.0]},
    ]
    *_, line = streaming.long_videos(rows)
    assert line == "| 75.0% of 4 chunks | 1 of 2 | 0.75 | 1.00 | 0.50 | 1 of 2 |\n"


def test_speeds_are_against_computing_all_again() -> None:
    seconds = {"computed": 12.0, "shared": 4.0, "shared, fora": 2.0}
    rows = [{"way": way, "median": s, "seconds": [s], "steps": 8} for way, s in seconds.items()]
    _, *lines = streaming.chunk(rows)
    assert [line.split("|")[-2].strip() for line in lines] == ["1.0", "3.0", "6.0"]
