"""The benchmarks run, in miniature, and what they print makes a page."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import several_gpus

from skipstone.pipelines import bundled
from support.programs import run_here, small_image
from support.saved import save_flux

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "benchmarks" / "rows"


def run(script: str, *arguments: str) -> None:
    assert not run_here(script, *arguments)


@pytest.mark.skipif(not hasattr(diffusers, "MagCacheConfig"), reason="this diffusers has no MagCacheConfig")
def test_rows_of_tiny_benchmarks_make_a_page(tmp_path: Path) -> None:
    kernels, steps = tmp_path / "kernels.jsonl", tmp_path / "step_cost.jsonl"
    small = ("--tiny", "--device", "cpu")
    run("benchmarks/kernels.py", *small, "--no-compile", "--dtypes", "bfloat16", "--rows", str(kernels))
    caches = ("no cache", "skipstone: reuse", "magcache")
    some = ("--pairs", "1", "--only", *caches)
    run("benchmarks/step_cost.py", "pebble-video", *small, *some, "--rows", str(steps))
    run("docs/make/performance.py", "--rows", str(tmp_path), "--into", str(tmp_path))
    page, figure = ((tmp_path / f"performance.{kind}").read_text() for kind in ("md", "svg"))
    assert "| skipstone: reuse | " in page
    assert "| diffusers: magcache | " in page
    assert "| reuse of 3 in place | " in page
    assert "end to end" in page
    assert figure.count("<rect") == 1 + 3
    run("docs/make/performance.py", "--check", "--rows", str(tmp_path), "--into", str(tmp_path))


def test_rows_of_a_small_run_of_plans_make_their_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, page = tmp_path / "planned.jsonl", tmp_path / "planned.md"
    page.write_text((ROOT / "docs" / "planned.md").read_text())
    """On a toy in place of the bundled model."""
    toy = save_flux(tmp_path / "toy")
    shutil.copy(bundled.folder("pebble-image") / "objects.txt", toy)
    small_image(monkeypatch, side=16)
    monkeypatch.setattr(bundled, "folder", lambda model: toy)
    small = ("--steps", "4", "--count", "1", "--computed", "2")
    known = {"model": "pebble-image", "steps": 4, "count": 1, "what": "noise floor", "psnr_mean": 77.0}
    rows.write_text(json.dumps({**known, "device": "known", "torch": "", "diffusers": ""}) + "\n")
    parts = ("--parts", "baselines", "budgets", "qualities", "exhaustive")
    limits = ("--short", "3", "2", "--qualities", "10")
    run_here("benchmarks/planned.py", "pebble-image", *small, *parts, *limits, "--rows", str(rows))
    run_here("benchmarks/actions.py", "pebble-image", *small, "--rows", str(rows))
    run_here("benchmarks/compared.py", "pebble-image", *small, "--methods", "fora", "--rows", str(rows))
    run_here("benchmarks/snapshots.py", "pebble-image", *small, "--dtypes", "float32", "--rows", str(rows))
    assert rows.read_text().count("noise floor") == 1
    run("docs/make/planned_figures.py", "--rows", str(rows), "--into", str(tmp_path))
    text = page.read_text()
    assert "77 dB apart" in text
    assert "| planned 2 | " in text
    assert "| 10 dB | " in text
    assert "| 3 | 2 | 2 | " in text
    assert "conditional branch alone on some" in text
    assert "| `fora` | " in text
    assert "| 2 | float32 | int8 | " in text
    assert text.startswith("# Planned caching")
    assert (tmp_path / "planned.svg").read_text().count("<polyline") == 5
    run("docs/make/planned_figures.py", "--check", "--rows", str(rows), "--into", str(tmp_path))


@pytest.mark.skipif(not any(ROWS.glob("*.jsonl")), reason="there are no rows")
def test_the_page_of_figures_is_fresh() -> None:
    run("docs/make/performance.py", "--check")


def test_rows_of_several_gpus_make_tables() -> None:
    machine = {"device": "a GPU", "processes": 2}
    shared = {**machine, "part": "shared", "makes": "FLUX", "steps": 4}
    run = {
        **shared, "way": "ulysses", "method": "plan", "strip": "#.#.", "strip_alone": "##..", "seconds": 1.0,
        "seconds_alone": 2.0, "gain_of_cache_alone": 2, "gain_of_cache": 1.9, "of_product": 0.95,
        "decided_alike": True, "difference": 0.001,
    }  # fmt: skip
    record = {
        **shared, "way": "weights", "method": "speedup", "strips": ["####"], "decided_alike": False,
        "records_kept": [1, 0], "same_plans": "3 of 4", "record_difference": 0.5,
    }  # fmt: skip
    refused = {**machine, "part": "shared", "model": "wan", "way": "tensor", "problem": "no plan"}
    ended = {"others_end_after": 0.5, "exit_code": 1, "rows": 9, "torn": 0}
    dead = {**machine, "part": "death", "what": "a run", **ended}
    on_cpu = {**record, "device": "cpu", "processes": 4, "decided_alike": True}
    page = several_gpus.section([run, record, refused, dead, on_cpu])
    assert "| 2 of 4 (one GPU: 2; `#.#.`, not `##..`) | 2.00 | 1.00 | 2.00 | 1.90 | 0.950 | yes |" in page
    assert "| `####` | no | 1 and 0 | 3 of 4 | 5.0e-01 |" in page
    assert "wan, tensor parallel: no plan" in page
    assert "| a run | 0.5 | exit code 1 | 9 | 0 |" in page
    assert "in 1 of 1 runs all decided alike, and 3 of 4 plans" in page


def test_the_amounts_that_gpus_send_are_fresh() -> None:
    run("docs/make/communication.py", "--check")


@pytest.mark.skipif(not (ROWS / "planned.jsonl").exists(), reason="there are no rows")
def test_the_figures_of_plans_are_fresh() -> None:
    run("docs/make/planned_figures.py", "--check")
