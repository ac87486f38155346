"""The page on long video shows what the benchmark measures."""

import json
import shutil
from pathlib import Path

import pytest

from support.programs import run_here
from support.vaes import cosmos, made

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/long_video.md"

MACHINE = {"device": "GPU", "torch": "2", "diffusers": "0"}
VIDEO = {"model": "toy", "kind": "Toy", "makes": "9 frames", **MACHINE}
ROWS = [
    {"part": "trial", "units": 3, "seconds": 12.3},
    {"part": "ways", "way": "whole", "problem": "out of memory", "seconds": None, "peak_gib": None},
    {"part": "ways", "way": "chunks of 1", "seconds": 2.0, "peak_gib": 4.0, "error": None},
    {"part": "lengths", "latents": 25, "seconds": 1.0, "peak_gib": 3.0},
    {
        "part": "mp4", "way": "write as frames come", "seconds": 5.0, "peak_gib": 1.0,
        "seconds_to_first_frames": 0.5,
    },
    {
        "part": "rounding", "whole_to_float32": 1e-2, "chunks_to_float32": 1e-2, "chunks_to_whole": 0.0,
        "in_float32": 1e-6,
    },
]  # fmt: skip


def test_the_page_is_fresh() -> None:
    assert not run_here("docs/make/long_video.py", "--check"), "run: python docs/make/long_video.py"


def test_rows_make_tables_and_a_figure(tmp_path: Path) -> None:
    rows, page = tmp_path / "rows.jsonl", tmp_path / "long_video.md"
    rows.write_text("\n".join(json.dumps({**VIDEO, **row}) for row in ROWS))
    shutil.copy(PAGE, page)
    program = ("docs/make/long_video.py", "--rows", str(rows), "--page", str(page))
    assert run_here(*program, "--check")
    assert not run_here(*program)
    written = page.read_text()
    for line in (
        "| `Toy`, 9 frames | whole | out of memory |  |  |",
        "| `Toy`, 9 frames | chunks of 1 | 4.0 | 2.0 |  |",
        "| `Toy`, 9 frames | 25 | 3.0 | 1.0 |",
        "| `Toy`, 9 frames | write as frames come | 5.0 | 0.5 | 1.0 |",
        "| `Toy` | 1.0e-02 | 1.0e-02 | 0.0e+00 | 1.0e-06 |",
        "12 s for `Toy`",
    ):
        assert line in written
    figure = page.with_suffix(".svg").read_text()
    assert figure.count("<rect") == 1 + 1
    assert "out of memory" in figure
    assert not run_here(*program, "--check")


@pytest.mark.parametrize("part", ["ways", "lengths", "mp4", "rounding"])
def test_the_benchmark_writes_such_rows(tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import chunked_vae

    monkeypatch.setattr(chunked_vae, "made", lambda model, device: made(cosmos).bfloat16())
    monkeypatch.setattr("skipstone.pipelines.vae.kept_plans.cache_folder", lambda name: tmp_path)
    model = chunked_vae.Model("few frames", "AutoencoderKLCosmos", (1, 4, 5, 2, 2), is_tiled=False)
    found = list(chunked_vae.Bench(model, "cpu", tiny=True).rows((part,)))
    wanted = next(row for row in reversed(ROWS) if row["part"] == part)
    assert found[0]["part"] == "trial"
    assert wanted.keys() - {"error"} <= found[-1].keys()
