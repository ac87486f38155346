"""AdaCache's codebooks: how many steps may be skipped at which change of an attention layer."""

import math
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Annotated

from annotated_types import Gt

from skipstone.declared import Declared, Positive


@dataclass(frozen=True)
class Codebook(Declared):
    """Map the change of an attention layer to the steps from one computed step to the next.

    Source: AdaCache, arXiv:2411.02397; the published values are facts from its official code.

    Args:
        name: its name in statistics.
        levels: pairs of an upper end of the change and the steps to the next computed step, with rising ends.
            A change above the last end takes the last level.
        steps: the number of steps of the runs that it was made for.
        motion: how much the attention's frames differ on average, 0 to 1. With motion regularisation, more
            motion counts as a faster change.
        motion_steps: the first and last step, counted from 1, on which motion is regularised in such runs.

    Raises:
        ValueError: there are no levels, the ends do not rise, or a value is outside its range.
    """

    name: str
    levels: tuple[tuple[Annotated[float, Gt(0)], Positive], ...]
    steps: Positive
    motion: Annotated[float, Gt(0)] = 0.385
    motion_steps: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        ends = [end for end, _ in self.levels]
        if not ends or ends != sorted(set(ends)):
            raise ValueError(f"the ends of the levels must rise, got {ends}")

    def __str__(self) -> str:
        return self.name

    def rate(self, change: float) -> int:
        """The steps from this computed step to the next; 1 for a change that is not finite."""
        if not math.isfinite(change):
            return 1
        return next((rate for end, rate in self.levels if change < end), self.levels[-1][1])

    def regularises(self, index: int, count: int) -> bool:
        """Whether motion counts at a step, counted from 0, of a run of any length."""
        first, last = (step * count / self.steps for step in self.motion_steps)
        return first <= index + 1 <= last


_ENDS_OF_30 = (0.08, 0.16, 0.24, 0.32, 0.40, 1.00)

PUBLISHED: tuple[Codebook, ...] = (
    Codebook(
        "open-sora-100-fast",
        ((0.03, 12), (0.05, 10), (0.07, 8), (0.09, 6), (0.11, 4), (1.00, 3)),
        steps=100,
        motion_steps=(10, 90),
    ),
    Codebook(
        "open-sora-30-fast",
        tuple(zip(_ENDS_OF_30, (6, 5, 4, 3, 2, 1), strict=True)),
        steps=30,
        motion_steps=(4, 26),
    ),
    Codebook(
        "open-sora-30-slow",
        tuple(zip(_ENDS_OF_30, (3, 2, 1, 1, 1, 1), strict=True)),
        steps=30,
        motion_steps=(4, 26),
    ),
)


def published(name: str) -> Codebook:
    """Find a published codebook by name.

    Raises:
        ValueError: there is no such codebook.
    """
    for codebook in PUBLISHED:
        if codebook.name == name:
            return codebook
    known = ", ".join(codebook.name for codebook in PUBLISHED)
    raise ValueError(f"unknown codebook {shortened(name)}; use one of: {known}")


def measured(changes: list[float], motions: list[float], steps: int) -> Codebook:
    """Make a codebook for a model without a published one. The rule is ours, not the paper's.

    The range of the measured changes is cut into equal levels. The level of the slowest change, in the middle
    of a run, gets the largest rate published for runs of about that length.

    Args:
        changes: the change of the residual on each step of an uncached run.
        motions: how much its frames differed on these steps; empty without frames.
        steps: the number of steps of the run.

    Raises:
        ValueError: all changes are the same.
    """
    model = min(PUBLISHED, key=lambda codebook: abs(codebook.steps - steps))
    rates = [rate for _, rate in model.levels]
    low, high = min(changes), max(changes)
    if not 0 <= low < high < math.inf:
        raise ValueError(f"the changes must differ and be finite, they are {low:g} to {high:g}")
    ends = (low + (high - low) * (n + 1) / len(rates) for n in range(len(rates)))
    motion = sum(motions) / len(motions) if motions else model.motion
    first, last = (round(step * steps / model.steps) for step in model.motion_steps)
    name = f"measured on {steps} steps"
    return Codebook(name, tuple(zip(ends, rates, strict=True)), steps, motion, (first, last))
