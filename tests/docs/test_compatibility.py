"""The table of models says what runs of them show."""

import re
from pathlib import Path

import diffusers
import pytest

from support.programs import run_here

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_models_is_fresh() -> None:
    written = re.search(r"with diffusers (\S+):", (DOCS / "compatibility.md").read_text())
    assert written is not None
    if written[1] != diffusers.__version__:
        pytest.skip(f"the table was written with diffusers {written[1]}")
    stale = run_here("docs/make/compatibility.py", "--check")
    assert not stale, "run: python docs/make/compatibility.py"
