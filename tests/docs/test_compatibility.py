"""The table of models says what runs of them show."""

import re
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_models_is_fresh() -> None:
    written = re.search(r"with diffusers (\S+):", (DOCS / "compatibility.md").read_text())
    assert written is not None
    if written[1] != diffusers.__version__:
        pytest.skip(f"the table was written with diffusers {written[1]}")
    check = subprocess.run([sys.executable, DOCS / "make" / "compatibility.py", "--check"], check=False)
    assert check.returncode == 0, "run: python docs/make/compatibility.py"
