"""The residuals that a branch keeps, and the estimate they give."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from skipstone.cachers.base import Bands, Step, Weights
from skipstone.cachers.kernels.operations import restore, reuse
from skipstone.cachers.kernels.reference import Quantised, dequantise
from skipstone.pipelines.halves import Half
from skipstone.pipelines.storage import AS_COMPUTED, Kept, Storage
from skipstone.pipelines.streams import Slot

Residual = dict[Slot, Tensor]
"""What one segment added to each of its streams, ``(batch, tokens, dim)`` each."""


class Snapshots:
    """The residuals of the last computed steps, newest first.

    Args:
        history: how many computed steps are kept.
        storage: the form in which they are kept.
    """

    def __init__(self, history: int, storage: Storage = AS_COMPUTED) -> None:
        self._kept: deque[tuple[Step, list[dict[Slot, Kept]]]] = deque(maxlen=history)
        self._storage = storage

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def steps(self) -> list[Step]:
        return [step for step, _ in self._kept]

    @property
    def nbytes(self) -> int:
        """Bytes held, on whatever device."""
        return sum(kept.nbytes for _, segments in self._kept for one in segments for kept in one.values())

    def push(self, step: Step, residuals: Sequence[Residual]) -> None:
        """Keep a computed step, one residual for each segment, as they are until `settle`."""
        self._kept.appendleft((step, [{**one} for one in residuals]))

    def settle(self) -> None:
        """Bring all that is kept into the form of the storage."""
        for _, segments in self._kept:
            for residual in segments:
                residual.update({slot: self._storage.keep(kept) for slot, kept in residual.items()})

    def clear(self) -> None:
        self._kept.clear()

    def combined(self, weights: Weights) -> "Snapshots":
        """The weighted sum of all that is kept, as the only thing that is."""
        step, newest = self._kept[0]
        sums = [
            {slot: self.estimate(n, slot, _zeros(kept), weights) for slot, kept in residual.items()}
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
        kept = [segments[segment][slot] for _, segments in self._kept]
        if self._storage.device is None:
            return _added(base, kept, weights, half)
        # One by one: on the device there is no room for all of them.
        for one, weight in zip(kept, weights, strict=True):
            if weight:
                base = _added(base, [one.to(base.device)], [weight], half)
        return base


def _added(base: Tensor, kept: Sequence[Kept], weights: Sequence[float], half: Half | None) -> Tensor:
    quantised = [one for one in kept if isinstance(one, Quantised) and one.values.shape == base.shape]
    if kept and len(quantised) == len(kept):
        return restore(base, quantised, weights)
    return reuse(base, [_part(one, base, half) for one in kept], weights)


def _part(kept: Kept, base: Tensor, half: Half | None) -> Tensor:
    """What belongs to a base, which may be half of a batch."""
    whole = dequantise(kept) if isinstance(kept, Quantised) else kept
    return whole if half is None or whole.shape == base.shape else half.of(whole)


def _zeros(kept: Kept) -> Tensor:
    if isinstance(kept, Quantised):
        return torch.zeros_like(kept.values, dtype=kept.dtype)
    return torch.zeros_like(kept)


def main_residual(segments: Sequence[Residual] | None) -> Tensor | None:
    """That of the largest stream of the last segment, the one nearest to the model's output.

    Of residuals that are only coordinates of it, and so of one size, the first: `residual` sorts them.
    """
    return max(segments[-1].values(), key=Tensor.numel) if segments else None
