"""Every method, with the settings that the shared tests need."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skipstone import (
    FORA,
    PAB,
    AdaCache,
    BlockCaching,
    Cacher,
    DBCache,
    DeepCache,
    DeltaDiT,
    DiCache,
    EasyCache,
    FasterCache,
    FirstBlock,
    MagCache,
    Planned,
    Record,
    SeaCache,
    SmoothCache,
    TeaCache,
    TGate,
)
from skipstone.cachers import Site
from skipstone.cachers.contract.words import LayerKind
from skipstone.schedules.moments import Moments
from skipstone.schedules.published.codebooks import Codebook
from skipstone.schedules.record import Quantity
from support.tiny import PIPELINES

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
        at_once: whether they depend on what it is given on that very step.
        pipelines: the ones it works on.
    """

    off: Cacher[Any]
    lenient: Cacher[Any]
    first: int
    last: int
    series: list[Cacher[Any]]
    looks: bool = True
    at_once: bool = True
    pipelines: tuple[str, ...] = TRANSFORMERS

    @property
    def name(self) -> str:
        return self.off.name

    @property
    def skipped(self) -> str:
        """How the strip shows a step that was skipped as far as the method can."""
        return "+" if self.off.site is Site.LAYER else "."

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


def codebook(end: float, rate: int = 8) -> AdaCache:
    """Changes below the end may go so many steps, those below its double half as many."""
    return AdaCache(Codebook("test", ((end, rate), (2 * end, (rate + 1) // 2), (4 * end, 1)), steps=20))


class ForAll(dict[str, Any]):
    """Gives one value for every key."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return self.value


def blocks(change: float) -> BlockCaching:
    """All blocks change as much on all of 8 steps."""
    return BlockCaching(0.5, ForAll((change,) * 7))


def smooth(change: float) -> SmoothCache:
    """All layers change as much from any of 8 steps to any other."""
    rows = tuple((change,) * (8 - lag) for lag in range(1, 8))
    kinds = (LayerKind.SELF_ATTENTION, LayerKind.CROSS_ATTENTION, LayerKind.FEED_FORWARD)
    return SmoothCache(0.5, dict.fromkeys(kinds, rows))


METHODS = [
    Case(
        codebook(1.0, 1),
        codebook(1e9, 1000),
        2,
        2,
        [codebook(end) for end in (0.001, 0.01, 0.02, 0.05, 1.0)],
        at_once=False,
    ),
    Case(blocks(1.0), blocks(0.0), 1, 0, [blocks(n) for n in (0.6, 0.3, 0.2, 0.15, 0.0)], looks=False),
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
    Case(
        DeltaDiT(1),
        DeltaDiT(1000, share=1.0),
        1,
        0,
        [DeltaDiT(n) for n in (1, 2, 3, 5, 8)],
        looks=False,
        pipelines=(*TRANSFORMERS, *UNETS),
    ),
    thresholds(DiCache, last=1, warmup=0.0),
    thresholds(EasyCache, first=2, last=1, warmup=0),
    Case(
        FasterCache(interval=1, guidance_interval=1),
        FasterCache(0.0, 1000, guidance_start=0.0, guidance_interval=1000, low=0.0, high=0.0),
        1,
        0,
        [FasterCache(interval=n, guidance_interval=n) for n in (1, 2, 3, 5, 8)],
        looks=False,
        pipelines=(*TRANSFORMERS, *UNETS),
    ),
    thresholds(FirstBlock),
    Case(FORA(1), FORA(1000), 1, 0, [FORA(n) for n in (1, 2, 3, 5, 8)], looks=False),
    thresholds(MagCache, warmup=0.0, max_skips=1000, ratios=(1.0, 0.98, 0.96), looks=False),
    Case(
        PAB(1, 1, 1),
        PAB(1000, 1000, 1000, from_timestep=1e9, until_timestep=-1e9),
        1,
        0,
        [PAB(n, 2 * n, 3 * n) for n in (1, 2, 3, 5, 8)],
        looks=False,
        pipelines=(*TRANSFORMERS, *UNETS),
    ),
    Case(
        planned(8, 8),
        planned(8, 1),
        1,
        0,
        [planned(20, n) for n in (20, 15, 10, 5, 2)],
        looks=False,
    ),
    thresholds(SeaCache, last=1),
    Case(smooth(1.0), smooth(0.0), 1, 1, [smooth(0.6), smooth(0.0)], looks=False),
    thresholds(TeaCache, last=1),
    Case(
        TGate(gate=1000, interval=1),
        TGate(gate=1, interval=1000, interval_after=1000, warmup=0),
        1,
        0,
        [TGate(gate=n) for n in (50, 20, 10, 5, 2)],
        looks=False,
        pipelines=(*TRANSFORMERS, *UNETS),
    ),
]

ON_STACKS = [case for case in METHODS if case.off.site is Site.STACK]
"""The methods that work on the toys."""
