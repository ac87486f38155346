"""The card of a repository with plans: what each of them is, and what it was made for."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from skipstone.disk.errors import shortened

TAG = "skipstone"

BEGINNING = f"""---
library_name: {TAG}
tags: [{TAG}, diffusers]
---
# Plans for skipstone
Each says which denoising steps of a diffusers pipeline to compute, and how to estimate the others.
"""

SHOWN = ("pipeline", "scheduler", "steps", "guidance", "shape", "dtype", "versions")
"""What a plan was made for, by its name in a record."""


def with_plan(card: str, address: str, explained: str, made_for: Mapping[str, Any]) -> str:
    """The card with a section on a plan, in place of its former one.

    Args:
        card: the text as it is; empty for a new one.
        address: the plan's, such as ``me/plans/flux-dev``.
        explained: the plan in words.
        made_for: the runs that its record was made for.
    """
    name = address.rpartition("/")[2]
    begin, end = f"<!-- plan: {name} -->", f"<!-- end of {name} -->"
    rows = "".join(f"| {_cell(key)} | {_cell(value)} |\n" for key, value in _conditions(made_for))
    section = (
        f"{begin}\n## {name}\n```text\n{explained}\n```\n"
        f"Made for runs like this one; skipstone says where a run differs.\n\n| | |\n|---|---|\n{rows}\n"
        f'```python\ncache = skipstone.attach(pipe, skipstone.load_plan("{address}"))\n```\n{end}\n'
    )
    # Where somebody has removed an end, what follows is another's.
    within = r"(?:(?!<!-- (?:plan: |end of )).)*"
    former = re.compile(rf"{re.escape(begin)}{within}{re.escape(end)}(?:\r?\n)?", re.DOTALL)
    if former.search(card):
        return former.sub(lambda _: section, card, count=1)
    return f"{card.rstrip() or BEGINNING.rstrip()}\n\n{section}"


def _conditions(made_for: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for model, facts in made_for.get("models", {}).items():
        yield model, [facts.get("class", "?"), *facts.get("adapters", [])]
    for name in SHOWN:
        value = made_for.get(name)
        if value not in (None, {}, []):
            yield name, value.get("class", value) if isinstance(value, Mapping) else value


def _cell(value: Any) -> str:
    """A value as the text of a cell, whatever it holds."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_cell(name)} {_cell(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escape(shortened(text), quote=False))
