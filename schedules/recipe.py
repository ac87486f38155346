"""How a plan is made from a record."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from skipstone.declared import Declared
from skipstone.schedules.moments import Weigh, least_squares, plain_reuse
from skipstone.schedules.profile import RESIDUAL, Profile

ANCHORS: Final = 2
"""From how many computed steps the others are estimated, unless the newest one is reused as it is."""


@dataclass(frozen=True)
class Recipe(Declared):
    """How a plan is made.

    Args:
        weights: the matrix for the weights, as `Profile.matrix` names it.
        power: the power of a step's length in the weight of its squared error: 2 where errors stay, 1 where
            the model repairs those of long steps.
        anchors: how many computed steps an estimate weighs; 1 to reuse the newest one as it is.
        settles: whether a computed step undoes errors of the gap before it, where the solver allows.

    Raises:
        ValueError: a power or a number of anchors that is neither.
    """

    weights: str = RESIDUAL
    power: Literal[1, 2] = 2
    anchors: Literal[1, 2] = ANCHORS
    settles: bool = True

    @property
    def weigh(self) -> Weigh:
        """How the computed steps of an estimate are weighed."""
        return plain_reuse if self.anchors == 1 else least_squares

    @property
    def weighing(self) -> "Recipe":
        """The same, which weighs several computed steps, as it does already or as is usual."""
        return self if self.anchors == ANCHORS else replace(self, anchors=ANCHORS, settles=True)

    @property
    def reusing(self) -> "Recipe":
        """The same, which reuses the last computed step as it is."""
        return replace(self, anchors=1)

    @property
    def unsettled(self) -> "Recipe":
        """The same, which leaves gaps as they are."""
        return replace(self, settles=False)

    def suits(self, record: Profile) -> bool:
        """Whether a record has the matrix."""
        return all(record.matrix(model, self.weights) is not None for model in record.models)

    def __str__(self) -> str:
        length = "length" if self.power == 1 else "squared length"
        settled = ", gaps settled" if self.settles else ""
        if self.anchors == 1:
            return f"steps by their {length}, the last computed one reused{settled}"
        return f"steps by their {length}, weights by {self.weights} of {self.anchors} computed steps{settled}"
