"""FORA: compute every few steps, whatever happens in between."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.words import Reason, Step
from skipstone.declared import Positive


@dataclass(frozen=True)
class FORA(ByStep):
    """Compute every ``interval``-th step, counted from the first.

    Use: as the simplest method: its speed is known beforehand, and predictors go well with it.
    Source: FORA, arXiv:2407.01425, https://github.com/prathebaselva/FORA.
    Difference: the residual of the whole stack is reused, not every layer's attention and MLP outputs.

    Args:
        interval: steps from one computed step to the next, from 1, which computes every step.

    Raises:
        ValueError: an interval below 1.
    """

    name: ClassVar[str] = "fora"
    ladder = rungs(interval=range(2, 21))

    interval: Positive = 2

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return Reason.INTERVAL if step.index % self.interval == 0 else None
