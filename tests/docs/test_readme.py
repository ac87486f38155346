"""What the README says of the methods is what the code says."""

from pathlib import Path

from methods_table import with_table

from skipstone.commands.methods import catalogue

ROOT = Path(__file__).parents[2]


def test_the_table_of_methods_is_fresh() -> None:
    text = (ROOT / "README.md").read_text()
    assert with_table(text) == text, "run: python docs/make/methods.py"


def test_every_method_has_a_row() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"| `{method.typed}` |" in text for method in catalogue())
