"""The benchmarks run, in miniature, and what they print makes a page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "rows"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / script), *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_rows_of_tiny_benchmarks_make_a_page(tmp_path: Path) -> None:
    kernels, steps = tmp_path / "kernels.jsonl", tmp_path / "step_cost.jsonl"
    run("benchmarks/kernels.py", "--tiny", "--no-compile", "--dtypes", "bfloat16", "--rows", str(kernels))
    caches = ("no cache", "skipstone: reuse", "magcache")
    run("benchmarks/step_cost.py", "pebble-video", "--tiny", "--only", *caches, "--rows", str(steps))
    run("docs/performance.py", "--rows", str(tmp_path), "--into", str(tmp_path))
    page, figure = ((tmp_path / f"performance.{kind}").read_text() for kind in ("md", "svg"))
    assert "| skipstone: reuse | " in page
    assert "| diffusers: magcache | " in page
    assert "| reuse of 3 in place | " in page
    assert "end to end" in page
    assert figure.count("<rect") == 1 + 2
    run("docs/performance.py", "--check", "--rows", str(tmp_path), "--into", str(tmp_path))


@pytest.mark.skipif(not any(ROWS.glob("*.jsonl")), reason="there are no rows")
def test_the_page_of_figures_is_fresh() -> None:
    run("docs/performance.py", "--check")
