"""Where the prompts of a report come from."""

import csv
import json
import os
from pathlib import Path
from typing import Any

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
        ("a.csv", 'number,prompt\r\n1,a cat\r\n\r\n2,"a dog"\r\n'),
        ("a.JSONL", '{"prompt_en": "a cat", "dimension": []}\n{"prompt_en": "a dog"}\n'),
    ],
)
def test_prompts_of_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_prompts(str(tmp_path / name)) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    "prompt", ["a\u2028b", "a\u0085b", "a\x0cb", "a\x1cb", "a\0b", 'a 6" cat', "x" * 140_000]
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_only_the_end_of_a_line_ends_a_prompt(tmp_path: Path, name: str, prompt: str) -> None:
    as_json = json.dumps({"prompt": prompt}, ensure_ascii=False)
    text = {"a.txt": prompt, "a.csv": f"prompt\n{prompt}", "a.jsonl": as_json}[name]
    (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    assert read_prompts(str(tmp_path / name)) == [prompt]


def test_a_quoted_prompt_has_any_number_of_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,prompt\n1,"a red, ""red""\ncat"\n')
    assert read_prompts(str(tmp_path / "a.csv")) == ['a red, "red"\ncat']


def test_reading_a_long_table_leaves_the_limit_of_fields_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\n" + "x" * 200_000 + "\n")
    before = csv.field_size_limit()
    read_prompts(str(tmp_path / "a.csv"))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", " \n\n", "holds no prompts"),
        (
            "a.csv",
            "number,words\n1,a cat\n",
            "line 1: expected a prompt under .*, caption, got .'number', 'words'.",
        ),
        ("a.csv", "id,prompt\n1,a cat\n2\n", "line 3: 1 values for 2 columns"),
        ("a.csv", "id,prompt\n1,a red, red cat\n", "line 2: 3 values for 2 columns.*quotes around a value"),
        ("a.csv", "id,prompt\n1,a cat\n2,\n", "line 3: expected a text under prompt, got ''"),
        ("a.csv", "prompt;id\na cat;1\n", "line 1: expected a prompt under .*, got .'prompt;id'."),
        ("a.csv", 'prompt\n"a cat\n', "line 2: unexpected end of data"),
        ("a.jsonl", "a cat\n", "cannot read the prompts .*line 1: Expecting value"),
        ("a.jsonl", '{"prompt": "a cat"}\n{"prompt": null}\n', "line 2: expected a text .*, got None"),
        ("a.jsonl", '{"prompt": NaN}\n', "line 1: NaN is no JSON"),
        ("a.jsonl", '["prompt"]\n', "line 1: expected a prompt under .*, got .'prompt'."),
        ("a.jsonl", "[" * 100_000, "line 1: nested too deeply"),
        ("a.jsonl", '\n{"prompt": "a \\ud83d cat"}', "line 2: prompt holds half of a surrogate pair"),
        ("a.txt", "a cat\na caf\udce9\n", "line 2: not UTF-8"),
        ("a\0.txt", None, "embedded null"),
        ("x" * 300 + ".txt", None, "name too long"),
        ("a.pdf", "", r"name a file that ends in .txt, .csv, .jsonl, or vbench"),
        (None, "", "No such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str | None, text: Any, problem: str) -> None:
    if name is not None and text is not None:
        (tmp_path / name).write_text(text, errors="surrogateescape", newline="")
    with pytest.raises(ValueError, match=problem):
        read_prompts(str(tmp_path / (name or "missing.txt")))


def test_prompts_from_a_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write("a cat\na dog\n")
    assert read_prompts(f"/dev/fd/{reading}") == ["a cat", "a dog"]
    os.close(reading)


def test_the_prompts_of_vbench_need_its_package() -> None:
    with pytest.raises(ValueError, match="the package vbench: pip install vbench"):
        read_prompts("vbench")


def test_a_bundled_model_brings_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "folder", lambda name: tmp_path)
    (tmp_path / "objects.txt").write_text("apple\nrocket\n")
    video, image = read_prompts("pebble-video"), prompts.pebble_prompts("pebble-image")
    assert len(video) == prompts.COUNT
    assert video[0] in ("an apple bounces on a blue background", "a rocket bounces on a blue background")
    assert image[0] in ("an apple on a blue background", "a rocket on a blue background")
