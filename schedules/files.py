"""Records and plans as JSON files that say what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from skipstone.disk.errors import FileError
from skipstone.disk.reading import Schema, parsed
from skipstone.disk.writing import write_text

SCHEMAS = {"record": 2, "plan": 3, "chunk plan": 1}
"""The versions that this code writes, and the only ones it reads.

Since 2, noise levels are flow times; since 3, a plan has one strip.
"""

F = TypeVar("F", bound="Head")


class Head(Schema):
    """What every file says of itself."""

    format: str
    version: int = Field(alias="schema")


class Beginning(Head):
    """A file of which only the head is read."""

    model_config = ConfigDict(extra="ignore")


def write(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file in one step, so that no other process reads half of it.

    Args:
        path: the file; its folder must exist.
        kind: one of `SCHEMAS`.
        content: plain values.

    Raises:
        FileError: it cannot be written.
        ValueError: a number is not finite.
    """
    write_text(Path(path), text_of(kind, content))


def text_of(kind: str, content: Mapping[str, Any]) -> str:
    """The text of such a file.

    Raises:
        ValueError: a number is not finite.
    """
    head = {"format": f"skipstone {kind}", "schema": SCHEMAS[kind]}
    return json.dumps({**head, **content}, allow_nan=False) + "\n"


def read(content: bytes, kind: str, schema: type[F], place: str) -> F:
    """Read what a file holds that `write` wrote.

    Args:
        content: its bytes.
        kind: one of `SCHEMAS`.
        schema: what such a file may hold.
        place: where it comes from, for errors.

    Raises:
        FileError: it is damaged, is something else, or was written by another skipstone.
    """
    _check_head(content, kind, place)
    return parsed(content, schema, place, f"make the {kind} again")


def _check_head(content: bytes, kind: str, place: str) -> None:
    """Tell other files from damaged ones."""
    try:
        head = Beginning.model_validate_json(content)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            return
        raise FileError(f"{place} is no skipstone {kind}") from None
    if head.format != f"skipstone {kind}":
        raise FileError(f"{place} is no skipstone {kind} but a {head.format[:40]!r}")
    if head.version != SCHEMAS[kind]:
        remedy = "upgrade skipstone, or make" if head.version > SCHEMAS[kind] else "make"
        raise FileError(
            f"{place} has schema {head.version}, this skipstone reads {SCHEMAS[kind]}: "
            f"{remedy} the {kind} again"
        )
