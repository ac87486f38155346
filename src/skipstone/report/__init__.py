"""Measure methods on a user's own model and prompts, and write one file that shows the results."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.report.design import Design
    from skipstone.report.page import write_page
    from skipstone.report.rows import read_rows
    from skipstone.report.sweeps import sweep

__all__ = ["Design", "read_rows", "sweep", "write_page"]

_HOMES = {"Design": "design", "read_rows": "rows", "sweep": "sweeps", "write_page": "page"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: reading rows needs neither torch nor a model."""
    if name not in _HOMES:
        raise AttributeError(f"module 'skipstone.report' has no attribute {name!r}")
    return getattr(import_module(f"skipstone.report.{_HOMES[name]}"), name)
