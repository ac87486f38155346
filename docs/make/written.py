"""Writing pages that are made from data, or saying whether they are stale."""

from collections.abc import Mapping
from pathlib import Path


def written(pages: Mapping[Path, str], check: bool) -> int:
    """Write pages, or only look at them.

    Args:
        pages: what is to stand where.
        check: whether to look and not to write.

    Returns:
        What the program exits with: 1 where a page that was looked at is missing or stale, else 0.
    """
    if check:
        return int(any(not path.exists() or path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text)
    return 0
