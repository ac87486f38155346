"""The prompts of a report: from a file, from a bundled model, or from VBench."""

import csv
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from reprlib import repr as shortened

from skipstone.pipelines import bundled

NAMES = ("prompt", "prompt_en", "text", "caption")
"""The columns and keys that can hold a prompt."""

USUAL = (
    "a red fox walks through fresh snow at dawn",
    "an old man with a white beard mends a fishing net, close-up portrait",
    "a crowded night market with paper lanterns in the rain",
    "a glass teapot beside a bowl of lemons on a wooden table",
)
"""A few prompts for any model: an animal in motion, a face, many small things, glass and still life."""

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
    try:
        prompts = list(_prompts(Path(source).expanduser()))
    # A home that does not exist is a RuntimeError, a name that no file can have a ValueError.
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read the prompts {source!r}: {why}") from None
    if not prompts:
        raise ValueError(f"{source!r} holds no prompts: write one a line")
    return list(dict.fromkeys(prompts))


def _prompts(path: Path) -> Iterable[str]:
    ending = ".txt" if path.is_fifo() else path.suffix.lower()
    if ending not in READERS:
        raise ValueError(f"name a file that ends in {', '.join(READERS)}, or vbench")
    return READERS[ending](_decoded(path.read_bytes()))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8 ({error.reason}); save it in that encoding") from None


def pebble_prompts(model: str, count: int = COUNT) -> list[str]:
    """Captions for a bundled model: an object, for videos a motion, and a background.

    Raises:
        ValueError: this copy of skipstone comes without the model.
    """
    names = (bundled.parts(model) / "objects.txt").read_text().splitlines()
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
        raise ValueError("the prompts of VBench come with the package vbench: pip install vbench")
    entries = json.loads((Path(found.submodule_search_locations[0]) / "VBench_full_info.json").read_text())
    return list(dict.fromkeys(_of(entry) for entry in entries))


def _of(record: object) -> str:
    """The prompt of an object, without spaces around it."""
    name = next((name for name in NAMES if name in record), None) if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or name is None:
        raise ValueError(f"expected a prompt under {', '.join(NAMES)}, got {_listed(record)}")
    prompt = record[name]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"expected a text under {name}, got {shortened(prompt)}")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ValueError(f"{name} holds half of a surrogate pair, which is no character")
    return prompt.strip()


def _listed(record: object) -> str:
    return shortened(list(record) if isinstance(record, Mapping) else record)


def _lines(text: str) -> list[str]:
    """The lines of a text; only line feeds and carriage returns end one, as in editors."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _one_a_line(text: str) -> Iterable[str]:
    return [prompt for line in _lines(text) if (prompt := line.strip())]


def _table(text: str) -> Iterator[str]:
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    header: list[str] = []
    before = csv.field_size_limit(max(len(text), 1))
    try:
        for row in rows:
            if header and row:
                yield _of(_cells(header, row))
            elif row:
                header = row
                _of(dict.fromkeys(header, "any"))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"line {rows.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def _cells(header: Sequence[str], row: Sequence[str]) -> Mapping[str, str]:
    if len(row) != len(header):
        raise ValueError(
            f"{len(row)} values for {len(header)} columns; put commas between them, and quotes around "
            "a value that has one"
        )
    return dict(zip(header, row, strict=True))


def _objects(text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                yield _of(json.loads(line, parse_constant=_no_number))
        except RecursionError:
            raise ValueError(f"line {number}: nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


READERS: Mapping[str, Callable[[str], Iterable[str]]] = {
    ".txt": _one_a_line,
    ".csv": _table,
    ".jsonl": _objects,
}
"""For each file ending, the function that reads such a text."""
