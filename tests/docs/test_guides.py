"""The pages that lead in: their tables are fresh, their links exist, and what they say can be typed."""

import re
from pathlib import Path
from typing import Any

import published_settings
import pytest

import skipstone
from skipstone.cachers.make import make

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def test_the_table_of_settings_is_fresh() -> None:
    text = published_settings.PAGE.read_text()
    assert published_settings.with_settings(text) == text, "run: python docs/make/published_settings.py"


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    assert all(f"]({page.name})" in index for page in DOCS.glob("*.md") if page.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def attach(pipe: Any, method: Any = None, speedup: float | None = None, **settings: Any) -> Any:
    """What a call of `skipstone.attach` attaches: a method or a speedup."""
    return speedup if method is None else make(method, **settings)


NAMES = {name: getattr(skipstone, name) for name in skipstone.__all__}
NAMES |= {"attach": attach, "pipe": None, "plan": "fora", "ratios": (1.0, 0.9)}


@pytest.mark.parametrize("page", ["choosing.md", "from_other_caches.md"])
def test_what_is_to_be_attached_can_be_made(page: str) -> None:
    calls = re.findall(r"`(attach\(pipe, (?!\.).+?\))`", (DOCS / page).read_text())
    assert len(calls) > 3
    assert all(eval(call, dict(NAMES)) is not None for call in calls)
