"""DeepCache: run the outermost layers of a UNet on every step, and the rest on every few steps."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Le
from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.words import Reason, Site, Step
from skipstone.declared import Natural, Positive
from skipstone.schedules.published.spacing import around


@dataclass(frozen=True)
class DeepCache(ByStep):
    """Compute the deep branch of a UNet only on every ``interval``-th step, and its outer layers on every
    step.

    Use: on UNets only, as it needs skip connections.
    Source: DeepCache, arXiv:2312.00858, https://github.com/horseee/DeepCache.
    Difference: layers are skipped in the outermost blocks only.

    Args:
        interval: steps from one computed step to the next, from 1, which computes every step.
        depth: how many layers of the first down block run on every step, from 0. In the last up block one
            more than that runs.
        center: the step around which computed steps are densest, from 1. Their number stays that of even
            spacing. None spaces them evenly.
        power: how uneven the spacing is, above 1. It is lowered if too few distinct steps remain.

    Raises:
        ValueError: a value outside its range; in a run, a center that is not among its steps.
    """

    name: ClassVar[str] = "deepcache"
    site = Site.DEEP
    ladder = rungs(interval=range(2, 21))

    interval: Positive = 3
    depth: Natural = 0
    center: Positive | None = None
    power: Annotated[float, Gt(1), Le(10)] = 1.4

    @property
    def head_blocks(self) -> int:
        return self.depth

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        if self.center is None or self.interval == 1:
            return Reason.INTERVAL if step.index % self.interval == 0 else None
        wanted = max(step.count // self.interval, 1)
        computed = around(self.center, step.count, wanted, self.power)
        return Reason.INTERVAL if step.index in computed else None
