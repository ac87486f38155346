"""The base of methods that decide by the step alone."""

from dataclasses import dataclass

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Probe


@dataclass(frozen=True)
class ByStep(Cacher[None]):
    """A method without a probe and without state."""

    @property
    def probe(self) -> Probe:
        return Probe.NONE

    def new_state(self) -> None:
        return None
