"""Where one evaluation stands."""

from dataclasses import dataclass

from torch import Tensor

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.memory.halves import Half


@dataclass(frozen=True)
class Now:
    """The present evaluation of a model, as far as memories and decisions need it.

    Args:
        step: where the run is.
        probe: what the method's gate looks at, as far as it is known.
        half: which half of the batch is computed, None where that is all of it.
    """

    step: Step
    probe: Tensor | None = None
    half: Half | None = None
