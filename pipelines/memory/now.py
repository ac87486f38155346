"""The present point of an evaluation."""

from dataclasses import dataclass

from torch import Tensor

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.memory.halves import Half


@dataclass(frozen=True)
class Now:
    """The step, the probe and the half of the present evaluation, for memories and decisions.

    Args:
        step: where the run is.
        probe: the method's probe, once it is known.
        half: the computed half of the batch; None for the whole batch.
    """

    step: Step
    probe: Tensor | None = None
    half: Half | None = None
