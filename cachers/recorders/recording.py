"""The base of methods that only measure."""

from dataclasses import dataclass

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher, StateT
from skipstone.cachers.contract.words import Probe, Reason, Step


@dataclass(frozen=True)
class Recording(Cacher[StateT]):
    """Compute every step; `update` records what it sees."""

    history = 0

    @property
    def probe(self) -> Probe:
        return Probe.NONE

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: StateT) -> str | None:
        return Reason.RECORDING

    def describe(self) -> str:
        return self.name
