"""Weights that come in packages of their own, as those of `skipstone-pebble`."""

from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

GROUP = "skipstone.weights"
"""The group of entry points in which packages list weights: each names a package and a folder in it."""

CHECKOUT = Path(__file__).resolve().parents[3] / "pebble" / "skipstone_pebble"
"""Where a checkout of this repository has them, so that it needs no second package."""

INSTALL = "pip install skipstone-pebble (in a checkout: pip install ./pebble)"
"""What to do where they are missing."""


def folder_of(name: str) -> Path | None:
    """The folder with weights of this name; None if no package brings it."""
    if (CHECKOUT / name).is_dir():
        return CHECKOUT / name
    for point in entry_points(group=GROUP, name=name):
        return Path(str(files(point.module))) / name
    return None
