"""Files of prompts: what programs write is read as written, anything else is read or refused in a line."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.report.prompts import NAMES, read_prompts
from support.mutations import check_refusal, fuzzed

PROMPT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
ENDINGS = (".txt", ".csv", ".jsonl")

PIECES = st.sampled_from([
    b"prompt", b"id,prompt\n", b",", b";", b"\t", b'"', b'""', b"\n", b"\r\n", b"\r", b"\0", b"\xef\xbb\xbf",
    b'{"prompt": ', b'"a"', b"}", b"[", b"null", b"NaN", b"1e999", b"\\ud800", b"\xe9", "\u2028".encode(),
    b"a red apple", b" ", b"\x1b[31m", b"{" * 2000,
])  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


def unique(prompts: list[str]) -> list[str]:
    return list(dict.fromkeys(prompt.strip() for prompt in prompts))


@fuzzed
@given(prompts=st.lists(PROMPT, min_size=1, max_size=5), name=st.sampled_from(NAMES), others=st.booleans())
def test_tables_of_other_programs(folder: Path, prompts: list[str], name: str, others: bool) -> None:
    text = StringIO(newline="")
    columns = ["number", name] if others else [name]
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(dict.fromkeys(columns, prompt) for prompt in prompts)
    (folder / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    assert read_prompts(str(folder / "a.csv")) == unique(prompts)


@fuzzed
@given(prompts=st.lists(PROMPT, min_size=1, max_size=5), name=st.sampled_from(NAMES), is_ascii=st.booleans())
def test_objects_of_other_programs(folder: Path, prompts: list[str], name: str, is_ascii: bool) -> None:
    lines = (json.dumps({name: prompt, "number": 1}, ensure_ascii=is_ascii) for prompt in prompts)
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8", newline="")
    assert read_prompts(str(folder / "a.jsonl")) == unique(prompts)


@fuzzed
@given(content=st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=12).map(b"".join)))
@pytest.mark.parametrize("ending", ENDINGS)
def test_anything(folder: Path, content: bytes, ending: str) -> None:
    path = folder / f"any{ending}"
    path.write_bytes(content)
    try:
        prompts = read_prompts(str(path))
    except ValueError as error:
        check_refusal(error, path.name)
        return
    assert prompts
    assert all(prompt == prompt.strip() != "" for prompt in prompts)
    assert all(prompt.encode() for prompt in prompts)
