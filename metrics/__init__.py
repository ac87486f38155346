"""Measure what a cache costs in quality and gains in time, and write clips and images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.metrics.comparison import METRICS, Comparison, compare

__all__ = ["METRICS", "Comparison", "compare"]


def __getattr__(name: str) -> Any:
    """Import metrics when they are first used: writing a clip needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'skipstone.metrics' has no attribute {name!r}")
    from skipstone.metrics import comparison

    return getattr(comparison, name)
