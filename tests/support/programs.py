"""Programs of the repository, run in the process of the test: it has torch and diffusers loaded already."""

import runpy
import sys
from pathlib import Path

import pytest

from skipstone.pipelines import bundled

ROOT = Path(__file__).parents[2]


def run_here(script: str, *arguments: str) -> int:
    """Run a program as `python script arguments...` would, and return what it exits with."""
    path = ROOT / script
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        patch.setattr(sys, "argv", [script, *arguments])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as exit:
            return int(exit.code or 0)
    return 0


def small_image(patch: pytest.MonkeyPatch, side: int) -> None:
    """Let pebble-image make small pictures; a short text saves most of the time."""
    size = {"height": side, "width": side, "max_sequence_length": 32}
    small = {**bundled.DEFAULTS["pebble-image"], **size}
    patch.setattr(bundled, "DEFAULTS", {"pebble-image": small})
