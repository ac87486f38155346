"""Any method with any predictor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.words import Solved, Step, Weights
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.wrappers.with_settling import refuse_settling


@dataclass(frozen=True)
class WithPredictor(Wrapper):
    """Let a method decide when to compute, and a predictor estimate the rest.

    Args:
        cacher: the method that decides; its own estimate is not used.
        predictor: weighs the residuals of computed steps.

    Raises:
        ValueError: the method has `WithSettling`.
    """

    name: ClassVar[str] = "with-predictor"

    predictor: Predictor

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_settling(self.cacher, "what a predictor estimates cannot be settled")

    @property
    def history(self) -> int:
        return self.predictor.history

    def weights(self, step: Step, computed: Sequence[Step], state: Any) -> Weights:
        return self.predictor.weights(step, computed)

    def settle(self, solved: Solved) -> None:
        """Nothing: the method's own estimates were not used, so it does not know what they missed."""

    def describe(self) -> str:
        return f"{self.cacher.describe()}; {self.predictor.describe()}"
