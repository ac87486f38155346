"""What a command prints at its end: words, or one JSON object."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from rich.table import Table
from rich.text import Text

from skipstone.printable import printable


class Result(Protocol):
    """A result that can be printed both ways."""

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values."""

    def lines(self) -> Iterable[str]:
        """The result in words."""


def show(result: Result, as_json: bool) -> None:
    """Print a result on standard output."""
    if as_json:
        print_json(result.as_dict())
    else:
        print_text("\n".join(result.lines()))


def print_text(text: str) -> None:
    """Print words, with control characters spelled out."""
    print(printable(text))


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object; what is no finite number is null, for which JSON has no other word."""
    text = json.dumps(_without_nan(values), allow_nan=False)
    # The only control character that JSON leaves as it is.
    print(text.replace("\x7f", "\\u007f"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: Iterable[tuple[str, ...]]) -> Table:
    """A table without lines; markup in cells is not interpreted."""
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return grid
