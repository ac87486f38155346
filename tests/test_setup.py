"""The page of the package reads the same away from the repository."""

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ADDRESS = "https://example.org/owner/skipstone"

SETUP: dict[str, Any] = runpy.run_path(str(ROOT / "setup.py"))


def test_relative_links_and_pictures_lead_to_the_repository() -> None:
    text = "[a](docs/a.md#b) ![c](d.svg) [e](https://f.org/g) [h](#i)"
    assert SETUP["absolute"](text, ADDRESS, "main") == (
        f"[a]({ADDRESS}/blob/main/docs/a.md#b) ![c]({ADDRESS}/raw/main/d.svg) [e](https://f.org/g) [h](#i)"
    )


def test_no_picture_of_the_readme_is_lost_elsewhere() -> None:
    page = SETUP["page"](ADDRESS)
    assert "](docs/" not in page
    assert page.count(f"]({ADDRESS}/raw/main/docs/") >= 2


def test_what_was_not_cloned_from_the_web_keeps_its_links() -> None:
    assert SETUP["page"]("") == (ROOT / "README.md").read_text()
