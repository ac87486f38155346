"""DeepCache: run the outermost layers of a UNet on every step, and the rest every so many steps."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.words import Reason, Site, Step
from skipstone.schedules.published.spacing import around


@dataclass(frozen=True)
class DeepCache(ByStep):
    """Compute the deep branch of a UNet on every ``interval``-th step only, its outer layers on every one.

    Use: on UNets; it needs skip connections.
    Source: DeepCache, arXiv:2312.00858, https://github.com/horseee/DeepCache.
    Difference: layers are left out of the outermost blocks alone.

    Args:
        interval: steps from one computed step to the next, from 1, which computes all.
        depth: how many of the first down block's layers run on every step, from 0; that many and one more of
            the last up block's do.
        center: the step around which computed steps lie densest, from 1; there are as many of them as with
            even spacing. None spaces them evenly.
        power: how unevenly they lie then, above 1. It is lowered where that leaves too few distinct steps.

    Raises:
        ValueError: a value outside its range; in a run, a center that is not among its steps.
    """

    name: ClassVar[str] = "deepcache"
    site = Site.DEEP
    ladder = rungs(interval=range(2, 21))

    interval: int = 3
    depth: int = 0
    center: int | None = None
    power: float = 1.4

    def __post_init__(self) -> None:
        if self.interval < 1 or self.depth < 0:
            raise ValueError(
                "interval must be a whole number >= 1 and depth one >= 0, "
                f"got {self.interval} and {self.depth}"
            )
        if (self.center is not None and self.center < 1) or not 1 < self.power < math.inf:
            raise ValueError(f"center must be >= 1 and power above 1, got {self.center} and {self.power}")

    @property
    def head_blocks(self) -> int:
        return self.depth

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        if self.center is None or self.interval == 1:
            return Reason.INTERVAL if step.index % self.interval == 0 else None
        wanted = max(step.count // self.interval, 1)
        computed = around(self.center, step.count, wanted, self.power)
        return Reason.INTERVAL if step.index in computed else None
