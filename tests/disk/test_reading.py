"""What is read is bounded, and refused in one line that names the field."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from skipstone.disk.errors import FileError
from skipstone.disk.reading import Name, Plain, Schema, parsed, read_bytes


class Stone(Schema):
    """Something small."""

    name: Name
    skips: Annotated[int, Field(ge=1)]
    lengths: list[float] = Field(default_factory=list)
    notes: dict[Name, Plain] = Field(default_factory=dict)


def refusal(text: str) -> str:
    with pytest.raises(FileError) as error:
        parsed(text.encode(), Stone, "'stone.json'", "throw again")
    assert str(error.value).isprintable()
    assert str(error.value).endswith("; throw again")
    return str(error.value).removesuffix("; throw again").removeprefix("'stone.json' is damaged: ")


REFUSED = {
    '{"name": "a"}': "skips field required",
    '{"name": "a", "skips": 0}': "skips should be greater than or equal to 1, got 0",
    '{"name": "a", "skips": 1.0}': "skips should be a valid integer, got 1.0",
    '{"name": "a", "skips": true}': "skips should be a valid integer, got True",
    '{"name": "a", "skips": "1"}': "skips should be a valid integer, got '1'",
    '{"name": "a", "skips": 1, "lengths": [1, NaN]}': "lengths.1 should be a finite number, got nan",
    '{"name": "a", "skips": 1, "lengths": [1e999]}': "lengths.0 should be a finite number, got inf",
    '{"name": "a", "skips": 1, "notes": {"b": [NaN]}}': "notes.b should be a finite number",
    '{"name": "a", "skips": 1, "other": 1}': "other extra inputs are not permitted, got 1",
    '{"name": "\\u001b[31m", "skips": 1}': "name should have no control characters, got '\\x1b[31m'",
    '{"name": "a", "skips": 1': "it is no JSON (EOF while parsing an object at line 1 column 24)",
    "[" * 5000: "it is no JSON (recursion limit exceeded at line 1 column 202)",
    "": "it is no JSON (EOF while parsing a value at line 1 column 0)",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_the_field_is_named_and_what_it_holds(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1" + "0" * 5000, '"' + "x" * 10**5 + '"'])
def test_what_is_huge_is_said_shortly(value: str) -> None:
    assert len(refusal(f'{{"name": "a", "skips": 1, "lengths": [{value}]}}')) <= 200


def test_a_file_has_a_size_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 10)
    assert read_bytes(tmp_path / "small", most=10) == b"x" * 10
    for path in (tmp_path / "small", Path("/dev/zero")):
        with pytest.raises(FileError, match="it has more than 0 MB; name another file"):
            read_bytes(path, most=9)


@pytest.mark.parametrize("name", ["none", ".", "a\0b", "x" * 300, "file/below"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot read") as error:
        read_bytes(tmp_path / name)
    assert str(error.value).isprintable()
