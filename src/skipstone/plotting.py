"""Figures by matplotlib, which is an extra."""

from collections.abc import Sequence
from typing import Any

COLOURS = {"#": "#0072b2", ".": "#e0e4e8", "+": "#7fb8d8"}
"""Computed, skipped, computed in part."""


def axes(given: Any, height: float) -> Any:
    """The given axes, or those of a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if given is not None:
        return given
    try:
        from matplotlib import pyplot
    except ImportError as why:
        raise ImportError("plots need matplotlib: pip install matplotlib") from why
    return pyplot.subplots(figsize=(7, height))[1]


def plot_strip(on: Any, text: str, title: str) -> None:
    """A bar of cells, one for each step."""
    on.bar(range(len(text)), [1] * len(text), width=0.9, color=[COLOURS.get(mark, "none") for mark in text])
    on.set(title=title, xlabel="step", yticks=[], ylim=(0, 1))


def plot_curve(on: Any, points: Sequence[tuple[float, float]], mark: tuple[float, float], title: str) -> None:
    """The quality to expect at each speed, one of them marked."""
    on.plot([x for x, _ in points], [y for _, y in points], color=COLOURS["#"])
    on.plot(*([value] for value in mark), marker="o", color=COLOURS["#"])
    on.set(title=title, xlabel="speedup", ylabel="PSNR to expect, dB")
