"""One method for steps or layers, another one for the unconditional branch of guidance."""

from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.words import Solved
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.wrappers.with_settling import refuse_settling


@dataclass(frozen=True)
class WithGuidance(Wrapper):
    """Let one method skip steps or layers, and another one save the unconditional branch of guidance.

    Args:
        cacher: the method that skips steps or layers.
        saver: the method that saves the unconditional branch.

    Raises:
        ValueError: the method has `WithSettling`.
    """

    name: ClassVar[str] = "with-guidance"

    saver: Guidance

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_settling(self.cacher, "what a guidance saver estimates cannot be settled")

    @property
    def guidance(self) -> Guidance | None:
        return self.saver

    def settle(self, solved: Solved) -> None:
        """Nothing: what is saved of the unconditional branch is an estimate on computed steps, too."""

    def describe(self) -> str:
        return f"{self.cacher.describe()}; {self.saver.describe()}"
