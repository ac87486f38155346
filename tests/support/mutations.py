"""Files as disks, editors and strangers change them."""

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("SKIPSTONE_FUZZ", 0))
"""How many inputs each reader gets in the long mode; 0 for a few, always the same ones."""

fuzzed = settings(
    max_examples=EXAMPLES or 30,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

NUMBERS = (
    math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, 10**400, 2**63, -(2**63), -1, 0, 1, 1.5, 0.999, 7,
)  # fmt: skip
WORDS = (
    "", " ", "x" * 3000, "\x1b[31mred", "a\0b", "a\nb", "../../private.webp", "/etc/passwd", "link.webp",
    "NaN", "#.#.", "......", "<script>", "\ud800", "٣", "transformer", "guided residual", "sweep", "cached",
    "psnr",
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], [{}], {"": []}, [0] * 2000, [None], {"a": math.nan})
VALUES = st.sampled_from([*NUMBERS, *WORDS, *OTHERS]).map(copy.deepcopy)
"""What no field expects."""

Place = tuple[Any, Any]
"""A list or an object, and an index or a key in it."""


@st.composite
def changed_values(draw: Callable[[Any], Any], content: Any) -> Any:
    """A JSON value of which one to three parts are replaced, taken away, added or exchanged."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(content))
        if found:
            _change(draw, draw(st.sampled_from(found)), found)
    return content


def _change(draw: Callable[[Any], Any], place: Place, found: list[Place]) -> None:
    parent, key = place
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "exchange"])):
        case "replace":
            parent[key] = draw(VALUES)
        case "remove":
            del parent[key]
        case "add" if isinstance(parent, list):
            parent.insert(key, draw(VALUES))
        case "add":
            parent[draw(st.sampled_from([word for word in WORDS if word != "\ud800"]))] = draw(VALUES)
        case "exchange":
            other, where = draw(st.sampled_from(found))
            parent[key] = copy.deepcopy(other[where])


def places(content: Any) -> Iterator[Place]:
    """All parts of a JSON value."""
    keys = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in list(keys):
        yield content, key
        yield from places(content[key])


@st.composite
def changed_bytes(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """Bytes of which one to three parts are cut off, cut out, flipped, repeated or written over."""
    for _ in range(draw(st.integers(1, 3))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        match draw(st.sampled_from(["cut off", "cut out", "flip", "repeat", "zeros", "insert", "nest"])):
            case "cut off":
                content = content[:end]
            case "cut out":
                content = content[:begin] + content[end:]
            case "flip" if begin < len(content):
                flipped = content[begin] ^ 1 << draw(st.integers(0, 7))
                content = content[:begin] + bytes([flipped]) + content[begin + 1 :]
            case "repeat":
                content = content[:end] + content[begin:]
            case "zeros":
                content = content[:begin] + bytes(end - begin) + content[end:]
            case "insert":
                content = content[:begin] + draw(st.binary(max_size=20)) + content[begin:]
            case "nest":
                content = content[:begin] + b"[" * draw(st.integers(1, 3000)) + content[begin:]
    return content


def changed_json(content: Any) -> st.SearchStrategy[bytes]:
    """A JSON file that was changed by its values or by its bytes."""
    by_value = changed_values(content).map(lambda value: json.dumps(value).encode())
    return st.one_of(by_value, by_value, changed_bytes(json.dumps(content).encode()))


def check_refusal(error: Exception, name: str) -> None:
    """A refusal is one short line that names the file."""
    text = str(error)
    assert name in text
    assert text.isprintable(), text
    assert len(text) < 600, text
