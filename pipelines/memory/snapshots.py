"""The residuals that a branch keeps, and estimates from them."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Bands, Step, Weights
from skipstone.cachers.kernels.operations import restore, reuse
from skipstone.cachers.kernels.reference import Quantised, dequantise
from skipstone.pipelines.memory.halves import Half
from skipstone.pipelines.memory.storage import AS_COMPUTED, Kept, Storage
from skipstone.pipelines.model.calls import Slot

Residual = dict[Slot, Tensor]
"""What one segment added to each of its streams, each ``(batch, tokens, dim)``."""


class Snapshots:
    """The residuals of the last computed steps, newest first.

    Args:
        history: how many computed steps to keep.
        storage: the form of the kept residuals.

    ``changes`` counts the changes of what is kept.
    """

    def __init__(self, history: int, storage: Storage = AS_COMPUTED) -> None:
        self._kept: deque[tuple[Step, list[dict[Slot, Kept]]]] = deque(maxlen=history)
        self._storage = storage
        self.changes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def steps(self) -> list[Step]:
        return [step for step, _ in self._kept]

    @property
    def nbytes(self) -> int:
        """Bytes held, on any device."""
        return sum(kept.nbytes for _, segments in self._kept for one in segments for kept in one.values())

    def push(self, step: Step, residuals: Sequence[Residual]) -> None:
        """Keep a computed step, one residual for each segment; `convert` converts them later."""
        self._kept.appendleft((step, [{**one} for one in residuals]))
        self.changes += 1

    def convert(self) -> None:
        """Convert everything that is kept to the storage's form."""
        for _, segments in self._kept:
            for residual in segments:
                residual.update({slot: self._storage.keep(kept) for slot, kept in residual.items()})
        self.changes += 1

    def clear(self) -> None:
        self._kept.clear()
        self.changes += 1

    def combined(self, weights: Weights, device: torch.device) -> "Snapshots":
        """Snapshots that keep only the weighted sum of these, on a device."""
        step, newest = self._kept[0]
        sums = Snapshots(1)
        sums.push(step, [{slot: _empty(kept, device) for slot, kept in one.items()} for one in newest])
        self.combine(weights, sums)
        return sums

    def combine(self, weights: Weights, sums: "Snapshots") -> None:
        """Write the present weighted sum into the memory of an earlier `combined`."""
        for n, segment in enumerate(sums._kept[0][1]):
            for slot, total in segment.items():
                assert isinstance(total, Tensor)
                self.estimate(n, slot, total.zero_(), weights, out=total)

    def estimate(
        self,
        segment: int,
        slot: Slot,
        base: Tensor,
        weights: Weights,
        half: Half | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """``base`` plus the weighted sum of what the segment added to this stream before.

        If ``base`` belongs to half of a batch, that half of the kept residuals is used. The sum is written to
        ``out``, if that is given; it may be ``base``.
        """
        if isinstance(weights, Bands):
            apart = [low - high for low, high in zip(weights.low, weights.high, strict=True)]
            between = self._sum(segment, slot, torch.zeros_like(base), apart, half)
            base, weights = base + weights.low_pass(between), weights.high
        return self._sum(segment, slot, base, weights, half, out)

    def _sum(
        self,
        segment: int,
        slot: Slot,
        base: Tensor,
        weights: Sequence[float],
        half: Half | None,
        out: Tensor | None = None,
    ) -> Tensor:
        kept = [segments[segment][slot] for _, segments in self._kept]
        if self._storage.device is None:
            return _added(base, kept, weights, half, out)
        # One by one, since the device may not have room for all of them.
        for one, weight in zip(kept, weights, strict=True):
            if weight:
                base = _added(base, [one.to(base.device)], [weight], half)
        return base if out is None else out.copy_(base)


def _added(
    base: Tensor, kept: Sequence[Kept], weights: Sequence[float], half: Half | None, out: Tensor | None = None
) -> Tensor:
    quantised = [one for one in kept if isinstance(one, Quantised) and one.values.shape == base.shape]
    if kept and len(quantised) == len(kept):
        return restore(base, quantised, weights, out)
    return reuse(base, [_part(one, base, half) for one in kept], weights, out)


def _part(kept: Kept, base: Tensor, half: Half | None) -> Tensor:
    """The part of a residual that belongs to a base, which may be half of a batch."""
    whole = dequantise(kept) if isinstance(kept, Quantised) else kept
    return whole if half is None or whole.shape == base.shape else half.of(whole)


def _empty(kept: Kept, device: torch.device) -> Tensor:
    values = kept.values if isinstance(kept, Quantised) else kept
    return torch.empty_like(values, dtype=kept.dtype, device=device)


def main_residual(segments: Sequence[Residual] | None) -> Tensor | None:
    """The residual of the largest stream in the last segment, which is nearest to the model's output.

    If only coordinates are kept, all have one size; then it is the first one, as `residual` sorts them.
    """
    return max(segments[-1].values(), key=Tensor.numel) if segments else None
