"""The reference names all that is public."""

import re
from pathlib import Path

import skipstone
from skipstone import metrics, testing

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
NAMES = re.findall(r"^::: skipstone\.(\S+)$", PAGE.read_text(), re.MULTILINE)


def test_every_public_name_is_there_once() -> None:
    assert sorted(name for name in NAMES if "." not in name) == sorted(skipstone.__all__)


def test_every_name_is_public() -> None:
    for module, names in {"metrics": metrics, "testing": testing}.items():
        ours = [name.partition(".")[2] for name in NAMES if name.startswith(f"{module}.")]
        assert ours
        assert all(hasattr(names, name) for name in ours)
