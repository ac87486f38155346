"""Write the table of published settings into choosing.md; ``--check`` only says whether it is stale."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from written import written

from skipstone.schedules.published import magnitudes, polynomials

PAGE = Path(__file__).parents[1] / "choosing.md"
BEGIN, END = "<!-- settings: python docs/make/published_settings.py -->\n", "<!-- end of settings -->"
TEACACHE = "TeaCache, arXiv:2411.19108, its code's careful setting"
MAGCACHE = "MagCache, arXiv:2506.09045, ratios of its code"


def variant(config: Mapping[str, Any]) -> str:
    """What tells a model from others of its class."""
    return ", ".join(f"{name} {value}" for name, value in config.items() if value is not None)


def rows() -> Iterator[str]:
    """A line for each published set of a class that diffusers has."""
    for one in polynomials.PUBLISHED:
        if one.model and not one.retention:
            yield _row(one.model, one.config, f'"teacache", threshold={one.threshold:g}', TEACACHE)
    for found in magnitudes.PUBLISHED:
        yield _row(found.model, found.config, '"magcache"', MAGCACHE)


def _row(model: str, config: Mapping[str, Any], setting: str, source: str) -> str:
    return f"| `{model}` | {variant(config)} | `{setting}` | {source} |\n"


def with_settings(page: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    head = "| model class | where | in `attach(pipe, ...)` | source |\n|---|---|---|---|\n"
    return f"{before}{BEGIN}{head}{''.join(sorted(rows()))}{END}{rest.partition(END)[2]}"


def main() -> int:
    return written({PAGE: with_settings(PAGE.read_text())}, "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
