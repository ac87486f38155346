"""A hook of mkdocs: links that leave the folder lead to the repository, where it has an address."""

import re
import runpy
from pathlib import Path
from typing import Any

ORIGIN = runpy.run_path(str(Path(__file__).parents[2] / "setup.py"))["origin"]

OUTWARD = re.compile(r"\[([^]]*)\]\(\.\./([^)]+)\)")


def on_config(config: Any) -> None:
    """Name the repository."""
    config.repo_url = ORIGIN() or None


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Replace links that leave the folder; without an address their words remain."""
    return OUTWARD.sub(rf"[\1]({config.repo_url}/blob/main/\2)" if config.repo_url else r"\1", markdown)
