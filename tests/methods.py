"""Every method, with the settings that the shared tests need."""

from dataclasses import dataclass
from typing import Any

from skipstone import Cacher, FirstBlock, TeaCache


@dataclass
class Case:
    """One method.

    Args:
        off: computes every step.
        lenient: skips wherever the method's rules allow it.
        always: how many steps of a run those rules compute all the same.
        series: from strict to permissive.
    """

    off: Cacher[Any]
    lenient: Cacher[Any]
    always: int
    series: list[Cacher[Any]]

    @property
    def name(self) -> str:
        return self.off.name


def thresholds(method: type[Any], always: int) -> Case:
    values = (0.01, 0.05, 0.1, 0.3, 1.0)
    return Case(method(threshold=0.0), method(threshold=1e9), always, [method(threshold=v) for v in values])


METHODS = [
    thresholds(FirstBlock, always=1),
    thresholds(TeaCache, always=2),
]
