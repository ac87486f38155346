"""Few combinations of values instead of all."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*dimensions: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Combinations of one value of each dimension, in which any two values of two dimensions meet."""
    every = list(product(*(range(len(values)) for values in dimensions)))
    apart = {pair for one in every for pair in _pairs(one)}
    found = []
    while apart:
        most = max(every, key=lambda one: len(_pairs(one) & apart))
        apart -= _pairs(most)
        found.append(tuple(values[at] for values, at in zip(dimensions, most, strict=True)))
    return found


def _pairs(places: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
    return set(combinations(enumerate(places), 2))
