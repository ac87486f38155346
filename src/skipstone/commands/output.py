"""What a command prints at its end: words, or one JSON object."""

import json
from collections.abc import Iterable
from typing import Any, Protocol

from rich.table import Table
from rich.text import Text


class Result(Protocol):
    """A result that can be printed both ways."""

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values."""

    def lines(self) -> Iterable[str]:
        """The result in words."""


def show(result: Result, as_json: bool) -> None:
    """Print a result on standard output."""
    print(json.dumps(result.as_dict(), allow_nan=False) if as_json else "\n".join(result.lines()))


def table(rows: Iterable[tuple[str, ...]]) -> Table:
    """A table without lines; markup in cells is not interpreted."""
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    return grid
