"""What the page of the package needs and only a clone knows: the address of the repository."""

import re
import subprocess
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent

RELATIVE = re.compile(r"(!?)(\[[^]]*\])\((?!https?:|#)([^)]+)\)")
"""A link or a picture in Markdown with a path of this repository."""


def origin() -> str:
    """Where this was cloned from; empty if it was not, or not from the web."""
    try:
        asked = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
        found = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
    address = re.sub(r"^git@([^:]+):", r"https://\1/", found).removesuffix(".git")
    return address if address.startswith("https://") else ""


def absolute(text: str, address: str, revision: str) -> str:
    """A text whose links lead to a repository, whose pictures are read from it."""

    def link(found: re.Match[str]) -> str:
        mark, words, path = found.groups()
        return f"{mark}{words}({address}/{'raw' if mark else 'blob'}/{revision}/{path})"

    return RELATIVE.sub(link, text)


def urls(address: str) -> dict[str, str]:
    """The links beside the page."""
    pages = {"Documentation": "blob/main/docs/README.md", "Changelog": "blob/main/CHANGELOG.md"}
    return {"Repository": address} | {name: f"{address}/{path}" for name, path in pages.items()}


def page(address: str) -> str:
    """The README, as it can be read elsewhere."""
    text = (ROOT / "README.md").read_text("utf-8")
    return absolute(text, address, "main") if address else text


if __name__ == "__main__":
    setup(
        long_description=page(origin()),
        long_description_content_type="text/markdown",
        project_urls=urls(origin()) if origin() else {},
    )
