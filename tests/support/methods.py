"""Every method, with the settings that the shared tests need."""

from typing import Any

import numpy as np

from skipstone import (
    FORA,
    PAB,
    AdaCache,
    BlockCaching,
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
from skipstone.schedules.profile import Quantity
from skipstone.schedules.published.codebooks import Codebook
from skipstone.testing import Case
from support.tiny import PIPELINES

TRANSFORMERS = tuple(PIPELINES)
UNETS = ("stable-diffusion",)


def thresholds(method: type[Any], first: int = 1, last: int = 0, **settings: Any) -> Case:
    values = (0.01, 0.05, 0.1, 0.3, 1.0)
    off, *series, lenient = [method(threshold=value, **settings) for value in (0.0, *values, 1e9)]
    return Case(lenient, off, first, last, series)


def planned(steps: int, computed: int) -> Planned:
    """A plan from a record of a model whose residual never changes, so that it is reused as it is."""
    moments = Moments(tuple(range(steps)), np.ones((steps, steps)))
    levels = tuple(np.linspace(1, 0, steps).tolist())
    record = Record({}, levels, {Quantity("transformer", "branch 0", "residual"): moments})
    return Planned(record.plan(computed=computed))


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
        codebook(1e9, 1000),
        codebook(1.0, 1),
        2,
        2,
        [codebook(end) for end in (0.001, 0.01, 0.02, 0.05, 1.0)],
    ),
    Case(blocks(0.0), blocks(1.0), 1, 0, [blocks(n) for n in (0.6, 0.3, 0.2, 0.15, 0.0)]),
    thresholds(DBCache, blocks=1, warmup=0),
    Case(DeepCache(1000), DeepCache(1), 1),
    Case(DeltaDiT(1000, share=1.0), DeltaDiT(1), 1),
    thresholds(DiCache, last=1, warmup=0.0),
    thresholds(EasyCache, first=2, last=1, warmup=0),
    Case(
        FasterCache(0.0, 1000, guidance_start=0.0, guidance_interval=1000, low=0.0, high=0.0),
        FasterCache(interval=1, guidance_interval=1),
        1,
    ),
    thresholds(FirstBlock),
    Case(FORA(1000), FORA(1), 1, 0, [FORA(n) for n in (1, 2, 3, 5, 8)]),
    thresholds(MagCache, warmup=0.0, max_skips=1000, ratios=(1.0, 0.98, 0.96)),
    Case(PAB(1000, 1000, 1000, from_timestep=1e9, until_timestep=-1e9), PAB(1, 1, 1), 1),
    Case(planned(8, 1), planned(8, 8), 1, 0, [planned(20, n) for n in (20, 15, 10, 5, 2)]),
    thresholds(SeaCache, last=1),
    Case(smooth(0.0), smooth(1.0), 1, 1, [smooth(0.6), smooth(0.0)]),
    thresholds(TeaCache, last=1),
    Case(
        TGate(gate=1, interval=1000, interval_after=1000, warmup=0),
        TGate(gate=1000, interval=1),
        1,
    ),
]

ON_STACKS = [case for case in METHODS if case.method.site is Site.STACK]
"""The methods that work on the toys."""


def pipelines_of(case: Case) -> tuple[str, ...]:
    """The tiny pipelines that a method is tried on."""
    if case.method.site is Site.DEEP:
        return UNETS
    # That of the UNet has fewer steps than those that the changes of layers are given for.
    has_steps = isinstance(case.method, (BlockCaching, SmoothCache))
    anywhere = case.method.site is Site.LAYER and not has_steps
    return (*TRANSFORMERS, *UNETS) if anywhere else TRANSFORMERS
