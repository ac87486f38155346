"""How hard a run is: how far computed steps are from what would have been estimated, without any waiting."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import Step
from skipstone.schedules.moments import Floats

COORDINATES = 2048
"""How many random elements of each sample's output are compared."""


V = TypeVar("V", Tensor, Floats)


def guided(branches: Mapping[str, V], scale: float) -> V | None:
    """What guidance makes of its branches; None where conditional and unconditional are not told apart.

    Args:
        branches: the values of each branch, ``(..., batch, coordinates)``. Pipelines that run both branches
            in one batch put the unconditional half first.
        scale: of classifier-free guidance.
    """
    if len(branches) == 1:
        (values,) = branches.values()
        half, odd = divmod(values.shape[-2], 2)
        if odd:
            return None
        uncond, cond = values[..., :half, :], values[..., half:, :]
    elif len(branches) == 2:
        named = [name for name in branches if "uncond" in name]
        second = named[0] if len(named) == 1 else list(branches)[1]
        cond, uncond = (branches[name] for name in sorted(branches, key=lambda name: name == second))
    else:
        return None
    return scale * cond - (scale - 1) * uncond


@dataclass
class Innovation:
    """The guided output of computed steps, less what would have been estimated: its size, for each sample.

    All branches of one model share it in a run. It stays on the device until `sizes` is asked for.

    Args:
        scale: of classifier-free guidance; None without.
    """

    scale: float | None = None
    step: int = -1
    parts: dict[str, Tensor] = field(default_factory=dict)
    branches: frozenset[str] = frozenset()
    total: Tensor | None = None
    count: int = 0

    def add(self, step: Step, branch: str, part: Tensor) -> None:
        """Take in what a branch's output differs by from its estimate, ``(batch, coordinates)``."""
        if step.index != self.step:
            self.total, self.count = self._summed()
            self.step, self.parts = step.index, {}
        self.parts[branch] = part

    def sizes(self) -> list[float]:
        """The root mean square over computed steps, in the output's unit; waits for the device."""
        total, count = self._summed()
        sizes: list[float] = [] if total is None else (total / count).sqrt().tolist()
        return sizes

    def _summed(self) -> tuple[Tensor | None, int]:
        """The sum of squares with the present step's, unless that has other branches than the first."""
        self.branches = self.branches or frozenset(self.parts)
        squares = self._squares() if self.branches == self.parts.keys() else None
        if squares is None:
            return self.total, self.count
        if self.total is None:
            return squares, 1
        if self.total.shape != squares.shape:
            return self.total, self.count
        return self.total + squares, self.count + 1

    def _squares(self) -> Tensor | None:
        if self.scale is not None and self.scale > 1:
            made = guided(self.parts, self.scale)
        else:
            made = next(iter(self.parts.values())) if len(self.parts) == 1 else None
        return None if made is None else made.square().mean(-1)


@dataclass
class Seen:
    """The newest computed outputs of one branch, of which others would be estimated.

    Args:
        history: how many.
    """

    history: int
    coordinates: Coordinates = field(default_factory=lambda: Coordinates(COORDINATES))
    kept: deque[Tensor] = field(default_factory=deque)

    def part(self, output: Tensor, weights: Sequence[float]) -> Tensor | None:
        """What a computed output differs by from its estimate; None if there is nothing to estimate it from.

        Args:
            output: ``(batch, ...)``; it is kept for later estimates.
            weights: of the kept ones, newest first.
        """
        seen = part = self.coordinates.of(output)
        alike = len(weights) == len(self.kept) > 0 and self.kept[0].shape == seen.shape
        for weight, earlier in zip(weights, self.kept if alike else (), strict=False):
            part = part.sub(earlier, alpha=weight)
        if not alike:
            self.kept.clear()
        self.kept.appendleft(seen)
        while len(self.kept) > self.history:
            self.kept.pop()
        return part if alike else None
