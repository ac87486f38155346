"""Where the prompts of a report come from."""

import os
from pathlib import Path

import pytest

from skipstone.pipelines import bundled
from skipstone.report import prompts
from skipstone.report.prompts import read_prompts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\ufeffa cat\n\n  a dog  \na cat\n"),
        ("a.csv", "number,prompt\n1,a cat\n2,a dog\n"),
        ("a.jsonl", '{"prompt": "a cat"}\n\n{"prompt": "a dog"}\n'),
        ("a.JSONL", '{"prompt_en": "a cat", "dimension": []}\n{"prompt_en": "a dog"}\n'),
    ],
)
def test_prompts_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_prompts(str(tmp_path / name)) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", " \n\n", "holds no prompts"),
        (
            "a.csv",
            "number,words\n1,a cat\n",
            "expected a prompt under prompt, prompt_en, text, caption, got number",
        ),
        ("a.jsonl", "a cat\n", "cannot read the prompts"),
        ("a.pdf", "", r"name a file that ends in .txt, .csv, .jsonl, or vbench"),
        (None, "", "No such file"),
    ],
)
def test_prompts_that_cannot_be_read(tmp_path: Path, name: str | None, text: str, problem: str) -> None:
    if name is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_prompts(str(tmp_path / (name or "missing.txt")))


def test_prompts_from_a_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write("a cat\na dog\n")
    assert read_prompts(f"/dev/fd/{reading}") == ["a cat", "a dog"]
    os.close(reading)


def test_the_prompts_of_vbench_need_its_package() -> None:
    with pytest.raises(ValueError, match="the package vbench, which is not installed"):
        read_prompts("vbench")


def test_a_bundled_model_brings_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "folder", lambda name: tmp_path)
    (tmp_path / "objects.txt").write_text("apple\nrocket\n")
    video, image = read_prompts("pebble-video"), prompts.pebble_prompts("pebble-image")
    assert len(video) == prompts.COUNT
    assert video[0] in ("an apple bounces on a blue background", "a rocket bounces on a blue background")
    assert image[0] in ("an apple on a blue background", "a rocket on a blue background")
