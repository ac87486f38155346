"""DeepCache: run the outermost layers of a UNet on every step, and the rest every so many steps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.base import Cacher, Probe, Reason, Site, Step


@dataclass(frozen=True)
class DeepCache(Cacher[None]):
    """Compute the deep branch of a UNet on every ``interval``-th step only, its outer layers on every one.

    Source: DeepCache, arXiv:2312.00858, https://github.com/horseee/DeepCache.
    Difference: only the uniform strategy is here, which computes every so many steps; and layers are left out
    of the outermost blocks alone.

    Args:
        interval: steps from one computed step to the next, from 1, which computes all.
        depth: how many of the first down block's layers run on every step, from 0; that many and one more of
            the last up block's do.

    Raises:
        ValueError: an interval below 1, or a negative depth.
    """

    name: ClassVar[str] = "deepcache"

    interval: int = 3
    depth: int = 0

    def __post_init__(self) -> None:
        if self.interval < 1 or self.depth < 0:
            raise ValueError(
                "interval must be a whole number >= 1 and depth one >= 0, "
                f"got {self.interval} and {self.depth}"
            )

    @property
    def site(self) -> Site:
        return Site.DEEP

    @property
    def head_blocks(self) -> int:
        return self.depth

    @property
    def probe(self) -> Probe:
        return Probe.NONE

    def new_state(self) -> None:
        return None

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> Reason | None:
        return Reason.INTERVAL if step.index % self.interval == 0 else None
