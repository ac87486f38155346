"""What a command prints when it is done: words, or one JSON object."""

import json
from collections.abc import Iterable
from typing import Any, Protocol

from rich.table import Table
from rich.text import Text


class Result(Protocol):
    """What can be said in both ways."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""

    def lines(self) -> Iterable[str]:
        """In words."""


def show(result: Result, as_json: bool) -> None:
    """Print a result on standard output."""
    print(json.dumps(result.as_dict(), allow_nan=False) if as_json else "\n".join(result.lines()))


def table(rows: Iterable[tuple[str, ...]]) -> Table:
    """Columns without lines between them; no cell is read as markup."""
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    return grid
