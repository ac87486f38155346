"""The contract of a method that saves the unconditional branch of classifier-free guidance."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.words import Step, short
from skipstone.declared import Declared


@dataclass(frozen=True)
class Guidance(Declared, ABC):
    """Compute the unconditional branch on some steps only, and estimate it from the other one on the rest.

    It has frozen hyper-parameters and no state. The estimate is the conditional branch's output on this step,
    plus weighted parts of the branches' last computed difference.
    """

    name: ClassVar[str]
    """The saver's name on the command line and in `skipstone.attach`."""

    @abstractmethod
    def reason_to_compute(self, step: Step) -> str | None:
        """Why both branches are computed on this step; None to compute only the conditional one."""

    @abstractmethod
    def split(self, difference: Tensor) -> Sequence[Tensor]:
        """Split the branches' difference into parts in float32, which add up to it.

        Args:
            difference: unconditional minus conditional output, ``(..., height, width)`` float32.
        """

    @abstractmethod
    def weights(self, step: Step) -> Sequence[float]:
        """One weight for each part, in the order of `split`."""

    def describe(self) -> str:
        """The method and its hyper-parameters in one line."""
        settings = ", ".join(f"{f.name} {short(getattr(self, f.name))}" for f in fields(self))
        return f"{self.name} {settings}".strip()
