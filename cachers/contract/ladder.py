"""A method's ladder: its settings from strict to permissive, in which a report finds a target speed."""

from collections.abc import Iterable, Mapping

Rung = Mapping[str, object]
"""Hyper-parameters by name, with values that can be typed on the command line."""

THRESHOLDS = tuple(float(f"{0.002 * 2 ** (n / 4):.3g}") for n in range(53))
"""From 0.002 to 16.4, four for each doubling."""


def rungs(**values: Iterable[object]) -> tuple[Rung, ...]:
    """One rung for each value of a hyper-parameter: ``ladder = rungs(threshold=THRESHOLDS)``.

    Args:
        values: the values of each hyper-parameter, strictest first; several hyper-parameters rise together.
    """
    return tuple(dict(zip(values, rung, strict=True)) for rung in zip(*values.values(), strict=True))
