"""The report of the bundled models: a small one is made anew, and the kept ones say what their rows say."""

from html import unescape
from pathlib import Path

import pytest

from skipstone import cli
from skipstone.report import read_rows
from skipstone.report.summary import summarise
from skipstone.report.verdict import verdict
from support.programs import small_image

KEPT = sorted((Path(__file__).parents[2] / "docs" / "report").glob("*/rows.jsonl"))


def test_a_small_report_of_the_bundled_image_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_image(monkeypatch, side=32)
    small = ["--limit", "1", "--steps", "4", "--size", "32x32", "--metrics", "psnr,ssim"]
    methods = ["fora:interval=2", "magcache:fitted:threshold=1:max_skips=1"]
    command = ["report", "--model", "pebble-image", "--methods", ",".join(methods), "--speedups", "2"]
    assert cli.run([*command, *small, "-o", "report.html"]) == 0
    rows = [row for row in read_rows(Path("rows.jsonl")) if row["kind"] == "cached"]
    assert [row["method"] for row in rows] == methods
    assert rows[0]["strip"] == "#.#."
    assert rows[0]["computed_steps"] == 2
    assert 10 < rows[0]["psnr"] < 100
    assert rows[0]["bytes_held"] > 0
    page = Path("report.html").read_text()
    assert page.count("data:image/webp;base64") > 0
    assert "fora interval=2" in page


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_a_kept_report_says_what_its_rows_say(path: Path) -> None:
    page = unescape(path.with_name("report.html").read_text())
    for finding in verdict(summarise(read_rows(path))):
        assert finding.text in page, "run: skipstone report again, and docs/make/keep_report.py"
