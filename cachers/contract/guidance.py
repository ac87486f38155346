"""The contract of a method that saves the unconditional branch of classifier-free guidance."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.words import Step, short


@dataclass(frozen=True)
class Guidance(ABC):
    """Computes the unconditional branch on some steps only, and estimates it from the other one on the rest.

    It is frozen hyper-parameters and no state. The estimate is the conditional branch's output of this step,
    and parts of what the other one differed by when both were last computed, each with a weight.
    """

    name: ClassVar[str]
    """What it is called where methods are described."""

    @abstractmethod
    def reason_to_compute(self, step: Step) -> str | None:
        """Why both branches are computed on this step, None to compute the conditional one alone."""

    @abstractmethod
    def split(self, difference: Tensor) -> Sequence[Tensor]:
        """The parts to keep of what the unconditional output differs by: float32, they add up to it.

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
