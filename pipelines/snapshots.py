"""The residuals that a branch keeps, and the estimate they give."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from skipstone.cachers.base import Bands, Step, Weights
from skipstone.pipelines.halves import Half
from skipstone.pipelines.streams import Slot

Residual = dict[Slot, Tensor]
"""What one segment added to each of its streams, ``(batch, tokens, dim)`` each."""


class Snapshots:
    """The residuals of the last computed steps, newest first.

    Args:
        history: how many computed steps are kept.
        device: where they are kept, None for where they were made.
    """

    def __init__(self, history: int, device: torch.device | None = None) -> None:
        self._kept: deque[tuple[Step, list[Residual]]] = deque(maxlen=history)
        self._device = device

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def steps(self) -> list[Step]:
        return [step for step, _ in self._kept]

    @property
    def nbytes(self) -> int:
        """Bytes held, on whatever device."""
        return sum(t.nbytes for _, segments in self._kept for residual in segments for t in residual.values())

    def push(self, step: Step, residuals: list[Residual]) -> None:
        """Keep a computed step, one residual for each segment."""
        kept = [{slot: t.to(self._device or t.device) for slot, t in one.items()} for one in residuals]
        self._kept.appendleft((step, kept))

    def clear(self) -> None:
        self._kept.clear()

    def combined(self, weights: Weights) -> "Snapshots":
        """The weighted sum of all that is kept, as the only thing that is."""
        step, newest = self._kept[0]
        sums = [
            {slot: self.estimate(n, slot, torch.zeros_like(t), weights) for slot, t in residual.items()}
            for n, residual in enumerate(newest)
        ]
        one = Snapshots(1)
        one.push(step, sums)
        return one

    def estimate(
        self, segment: int, slot: Slot, base: Tensor, weights: Weights, half: Half | None = None
    ) -> Tensor:
        """``base`` plus the weighted sum of what the segment added to this stream before.

        Where ``base`` belongs to half of a batch, that half is taken of what was kept for all of it.
        """
        if isinstance(weights, Bands):
            apart = [low - high for low, high in zip(weights.low, weights.high, strict=True)]
            between = self._sum(segment, slot, torch.zeros_like(base), apart, half)
            base, weights = base + weights.low_pass(between), weights.high
        return self._sum(segment, slot, base, weights, half)

    def _sum(
        self, segment: int, slot: Slot, base: Tensor, weights: Sequence[float], half: Half | None
    ) -> Tensor:
        estimate = base
        for weight, (_, segments) in zip(weights, self._kept, strict=True):
            if weight:
                kept = segments[segment][slot]
                part = kept if half is None or kept.shape == base.shape else half.of(kept)
                estimate = estimate.add(part.to(base.device), alpha=weight)
        return estimate


def main_residual(segments: Sequence[Residual] | None) -> Tensor | None:
    """That of the largest stream of the last segment, the one nearest to the model's output.

    Of residuals that are only coordinates of it, and so of one size, the first: `residual` sorts them.
    """
    return max(segments[-1].values(), key=Tensor.numel) if segments else None
