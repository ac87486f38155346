"""Any gate with any predictor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.words import Step, Weights
from skipstone.cachers.contract.wrapper import Wrapper


@dataclass(frozen=True)
class WithPredictor(Wrapper):
    """Let one method say when to compute, and a predictor estimate the rest.

    Args:
        cacher: the gate; an estimate of its own is not used.
        predictor: how the residuals of computed steps are weighed.
    """

    name: ClassVar[str] = "with-predictor"

    predictor: Predictor

    @property
    def history(self) -> int:
        return self.predictor.history

    def weights(self, step: Step, computed: Sequence[Step], state: Any) -> Weights:
        return self.predictor.weights(step, computed)

    def describe(self) -> str:
        return f"{self.cacher.describe()}; {self.predictor.describe()}"
