"""What the README says of the methods is what the code says."""

import subprocess
import sys
from pathlib import Path

from skipstone.cachers import METHODS, PREDICTORS

ROOT = Path(__file__).parents[2]


def test_the_table_of_methods_is_fresh() -> None:
    program = ROOT / "docs" / "make" / "methods_table.py"
    check = subprocess.run([sys.executable, program, "--check"], check=False)
    assert check.returncode == 0, "run: python docs/make/methods_table.py"


def test_every_method_has_a_row() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in [*METHODS, *(f"+{name}" for name in PREDICTORS)])
