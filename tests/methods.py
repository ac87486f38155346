"""Every method, with the settings that the shared tests need."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone import (
    FORA,
    Cacher,
    DBCache,
    DeepCache,
    DiCache,
    EasyCache,
    FirstBlock,
    MagCache,
    Planned,
    Record,
    SeaCache,
    TeaCache,
)
from skipstone.cachers import Site
from skipstone.schedules.moments import Moments
from skipstone.schedules.record import Quantity
from tiny import PIPELINES

TRANSFORMERS = tuple(PIPELINES)
UNETS = ("stable-diffusion",)


@dataclass
class Case:
    """One method.

    Args:
        off: computes every step.
        lenient: skips wherever the method's rules allow it.
        first: how many first steps of a run those rules compute all the same.
        last: how many last ones.
        series: from strict to permissive.
        looks: whether the decisions depend on what the model is given.
        pipelines: the ones it works on.
    """

    off: Cacher[Any]
    lenient: Cacher[Any]
    first: int
    last: int
    series: list[Cacher[Any]]
    looks: bool = True
    pipelines: tuple[str, ...] = TRANSFORMERS

    @property
    def name(self) -> str:
        return self.off.name

    @property
    def always(self) -> int:
        return self.first + self.last


def thresholds(method: type[Any], first: int = 1, last: int = 0, looks: bool = True, **settings: Any) -> Case:
    values = (0.01, 0.05, 0.1, 0.3, 1.0)
    made = [method(threshold=value, **settings) for value in (0.0, *values, 1e9)]
    return Case(made[0], made[-1], first, last, made[1:-1], looks)


def planned(steps: int, computed: int) -> Planned:
    """A plan from a record of a model whose residual never changes, so that it is reused as it is."""
    moments = Moments(tuple(range(steps)), np.ones((steps, steps)))
    levels = tuple(np.linspace(1, 0, steps).tolist())
    record = Record({}, levels, {Quantity("transformer", "branch 0", "residual"): moments})
    return Planned(record.plan(computed=computed), guard=None)


METHODS = [
    thresholds(DBCache, blocks=1, warmup=0),
    Case(
        DeepCache(1),
        DeepCache(1000),
        1,
        0,
        [DeepCache(n) for n in (1, 2, 3, 5, 8)],
        looks=False,
        pipelines=UNETS,
    ),
    thresholds(DiCache, last=1, warmup=0.0),
    thresholds(EasyCache, first=2, last=1, warmup=0),
    thresholds(FirstBlock),
    Case(FORA(1), FORA(1000), 1, 0, [FORA(n) for n in (1, 2, 3, 5, 8)], looks=False),
    thresholds(MagCache, warmup=0.0, max_skips=1000, ratios=(1.0, 0.98, 0.96), looks=False),
    Case(
        planned(8, 8),
        planned(8, 1),
        1,
        0,
        [planned(20, n) for n in (20, 15, 10, 5, 2)],
        looks=False,
    ),
    thresholds(SeaCache, last=1),
    thresholds(TeaCache, last=1),
]

ON_STACKS = [case for case in METHODS if case.off.site is Site.STACK]
"""The methods that work on the toys."""
