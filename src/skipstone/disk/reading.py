"""Read files from outside: bounded, checked against a schema, refused in one line."""

from pathlib import Path
from reprlib import repr as shortly
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from skipstone.disk.errors import FileError, cannot, shortened

MEGABYTE = 2**20

MOST = 64 * MEGABYTE
"""The most bytes of a file that is read at once."""

M = TypeVar("M", bound="Schema")


class Schema(BaseModel):
    """What a file may hold: nothing is converted, nothing unknown is accepted, every number is finite."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("should have no control characters")
    return text


def _finite(value: JsonValue) -> JsonValue:
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(part)
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError("should be a finite number")
    return value


Name = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
"""A name that can be shown anywhere."""

Plain = Annotated[JsonValue, AfterValidator(_finite)]
"""Plain values with finite numbers."""


def read_bytes(path: str | Path, most: int = MOST) -> bytes:
    """Read a file that is not too large.

    Args:
        path: the file.
        most: the most bytes that it may have.

    Raises:
        FileError: it cannot be read, or has more.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise cannot("read", path, error) from None
    if len(content) > most:
        large = f"it has more than {most // MEGABYTE} MB"
        raise FileError(f"cannot read {str(path)!r}: {large}; name another file")
    return content


def parsed(content: bytes, schema: type[M], place: str, remedy: str) -> M:
    """Make JSON into an object of a schema.

    Args:
        content: the JSON text.
        schema: what it may hold.
        place: where it comes from, for the error.
        remedy: what would do, for the error.

    Raises:
        FileError: it is no JSON, or a field is not what the schema says; the first such field is named.
    """
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        raise FileError(f"{place} is damaged: {_said(error)}; {remedy}") from None


def _said(error: ValidationError) -> str:
    """What is wrong with which field, and what it holds."""
    first: Any = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return shortened(f"it is no JSON ({message.removeprefix('Invalid JSON: ')})")
    field = ".".join(map(str, first["loc"]))
    value = first["input"]
    got = "" if isinstance(value, (dict, list)) else f", got {shortly(value)}"
    return shortened(f"{field} {message[:1].lower()}{message[1:]}{got}".strip())
