"""The settings of a method from strict to permissive, among which a report looks for a wanted speed."""

from collections.abc import Iterable, Mapping

Rung = Mapping[str, object]
"""Hyper-parameters by their names, of values that can be typed on the command line."""

THRESHOLDS = tuple(float(f"{0.002 * 2 ** (n / 4):.3g}") for n in range(53))
"""From 0.002 to 16.4, four for each doubling."""


def rungs(**values: Iterable[object]) -> tuple[Rung, ...]:
    """One rung for each value of a hyper-parameter: ``ladder = rungs(threshold=THRESHOLDS)``.

    Args:
        values: of a hyper-parameter, strict first; where there are several, they go up together.
    """
    return tuple(dict(zip(values, rung, strict=True)) for rung in zip(*values.values(), strict=True))
