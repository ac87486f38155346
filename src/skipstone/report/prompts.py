"""The prompts of a report: from a file, from a bundled model, or from VBench."""

import csv
import json
import random
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from skipstone.pipelines import bundled

NAMES = ("prompt", "prompt_en", "text", "caption")
"""The columns and keys that can hold a prompt."""

MOTIONS = ("bounces", "slides left", "spins", "rolls", "grows", "orbits", "falls", "shakes")
COLOURS = ("blue", "yellow", "green", "white", "pink", "teal", "purple", "gray")
COUNT = 16
"""How many prompts come with a bundled model."""


def read_prompts(source: str) -> list[str]:
    """Read the prompts of a file, or return those of a name.

    Args:
        source: a file ``.txt`` (one prompt on each line), ``.csv`` or ``.jsonl`` (under one of `NAMES`); a
            pipe, with one prompt on each line; ``vbench``; or the name of a bundled model.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds no prompts.
    """
    if source in bundled.DEFAULTS:
        return pebble_prompts(source)
    if source == "vbench":
        return _vbench()
    path = Path(source).expanduser()
    ending = ".txt" if path.is_fifo() else path.suffix.lower()
    if ending not in READERS:
        raise ValueError(f"prompts {source!r}: name a file that ends in {', '.join(READERS)}, or vbench")
    try:
        found = READERS[ending](path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read the prompts {source!r}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot read the prompts {source!r}: {error}") from None
    prompts = [prompt for line in found if (prompt := line.strip())]
    if not prompts:
        raise ValueError(f"{source!r} holds no prompts: write one a line")
    return list(dict.fromkeys(prompts))


def pebble_prompts(model: str, count: int = COUNT) -> list[str]:
    """Captions for a bundled model: an object, for videos a motion, and a background.

    Raises:
        ValueError: this copy of skipstone comes without the model.
    """
    names = (bundled.folder(model) / "objects.txt").read_text().splitlines()
    chooser, prompts = random.Random(11), []
    for index in range(count):
        name = chooser.choice(names)
        motion = f" {MOTIONS[index % 8]}" if model == "pebble-video" else ""
        article = "an" if name[0] in "aeiou" else "a"
        prompts.append(f"{article} {name}{motion} on a {COLOURS[(index * 3) % 8]} background")
    return prompts


def _vbench() -> list[str]:
    found = find_spec("vbench")
    if found is None or not found.submodule_search_locations:
        raise ValueError("the prompts of VBench come with the package vbench, which is not installed")
    entries = json.loads((Path(found.submodule_search_locations[0]) / "VBench_full_info.json").read_text())
    return list(dict.fromkeys(_of(entry) for entry in entries))


def _of(record: Mapping[str, Any]) -> str:
    name = next((name for name in NAMES if name in record), None)
    if name is None:
        raise ValueError(f"expected a prompt under {', '.join(NAMES)}, got {', '.join(map(str, record))}")
    return str(record[name])


def _lines(text: str) -> Iterable[str]:
    return text.splitlines()


def _table(text: str) -> Iterable[str]:
    return [_of(row) for row in csv.DictReader(text.splitlines())]


def _objects(text: str) -> Iterable[str]:
    return [_of(json.loads(line)) for line in text.splitlines() if line.strip()]


READERS: Mapping[str, Callable[[str], Iterable[str]]] = {".txt": _lines, ".csv": _table, ".jsonl": _objects}
"""For each file ending, the function that reads such a text."""
