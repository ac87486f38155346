"""Where things are kept from one process to the next."""

from pathlib import Path


def cache_folder(name: str) -> Path | None:
    """A folder in the user's cache folder; None for a user without a home."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("skipstone")
    except RuntimeError:
        return None
    # Some versions return a path that begins with the letter ~ instead.
    return folder / name if folder.is_absolute() else None
