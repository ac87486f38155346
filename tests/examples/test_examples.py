"""The programs in examples/ run, print what they promise, and are short."""

import runpy
import sys
from pathlib import Path

import pytest

from support.programs import small_image

FOLDER = Path(__file__).parents[2] / "examples"

SAYS = {
    "ask_for_a_speed": "it is being recorded",
    "attach_one_line": "of 8 steps skipped",
    "combine_method_and_predictor": "fora interval 2; taylor",
    "compare_two_methods": "LPIPS",
    "image_to_image": "of 6 steps skipped",
    "lora_and_quantised": "4 of 8 steps skipped",
    "record_and_plan": "4 of 8 steps skipped",
    "serve_two_requests": "a snail on a green background: ",
    "several_gpus": "process 0: a cat on a blue background: ",
    "share_one_model": "it is being recorded",
    "write_a_method": "small-move",
}
"""What each program prints, in runs of 8 steps."""

LONGER = {"demo", "server"}
"""Programs that have tests of their own."""

NEEDS = {"lora_and_quantised": "torchao"}
"""Packages that only some programs need."""


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SAYS) | LONGER


@pytest.mark.parametrize("name", SAYS)
def test_an_example_has_thirty_lines_at_most(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 30


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small_image(monkeypatch, side=64)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "8"])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert SAYS[name] in capsys.readouterr().out
