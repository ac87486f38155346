"""Write and read records and plans as JSON files that say what they are."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SCHEMA = 2
"""The version that this code writes, and the only one it reads: since 2, noise levels are flow times."""


def write(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file in one step, so that no other process reads half of it.

    Args:
        path: the file; its folder must exist.
        kind: ``record`` or ``plan``.
        content: plain values.
    """
    path = Path(path)
    text = json.dumps({"format": f"skipstone {kind}", "schema": SCHEMA, **content}, allow_nan=False)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a file that `write` wrote.

    Raises:
        ValueError: the file cannot be read, is not JSON, is something else, or was written by another
            skipstone.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged, it is no JSON ({error}); make the {kind} again") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != f"skipstone {kind}":
        raise ValueError(f"{path} is no skipstone {kind}" + (f" but a {found}" if found else ""))
    schema = content.get("schema")
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        remedy = "upgrade skipstone, or make" if newer else "make"
        raise ValueError(
            f"{path} has schema {schema!r}, this skipstone reads {SCHEMA}: {remedy} the {kind} again"
        )
    return dict(content)


def load(path: str | Path, kind: str, make: Callable[[Mapping[str, Any]], T]) -> T:
    """Make an object from a file's plain values; any failure means that the file is damaged.

    Raises:
        ValueError: as for `read`, or the content makes no sense.
    """
    content = read(path, kind)
    try:
        return make(content)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged ({reason}); make the {kind} again") from None
