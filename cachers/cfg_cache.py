"""CFG-Cache: the branches' difference changes slowly, its low and high frequencies at different times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.words import Reason, Step
from skipstone.declared import Positive, Share

Raised = Annotated[float, Ge(0), Le(10)]
"""By how much a band, or an extrapolation, is weighted up."""


@dataclass(frozen=True)
class CFGCache(Guidance):
    """Estimate the unconditional output from the conditional one and their last difference, band by band.

    Use: with guidance in two branches, added to any method: ``fora+cfg-cache``.
    Source: FasterCache, arXiv:2410.19355, https://github.com/Vchitect/FasterCache.
    Difference: the weights are the paper's; the official code compounds them from one skipped step to the
    next, with other factors for each model. The difference is split into bands when it is stored, so a
    skipped step needs no Fourier transform; the sum is the same.

    Args:
        start: the share of the run at its start that always computes both branches, 0 to 1.
        interval: after that, both are computed on every step whose number, counted from 1, is a multiple of
            this; 1 computes every step.
        low: how much the low frequencies of the difference are raised before the switch.
        high: how much its high frequencies are raised after the switch.
        switch: the share of the run after which high frequencies are raised instead of low ones, 0 to 1.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "cfg-cache"

    start: Share = 1 / 3
    interval: Positive = 5
    low: Raised = 0.2
    high: Raised = 0.2
    switch: Share = 0.7

    def reason_to_compute(self, step: Step) -> str | None:
        number = step.index + 1
        if number <= self.start * step.count:
            return Reason.WARM_UP
        return Reason.INTERVAL if number % self.interval == 0 else None

    def split(self, difference: Tensor) -> Sequence[Tensor]:
        low = low_band(difference)
        return low, difference - low

    def weights(self, step: Step) -> Sequence[float]:
        is_early = step.index < self.switch * step.count
        return (1 + self.low, 1.0) if is_early else (1.0, 1 + self.high)


def low_band(planes: Tensor) -> Tensor:
    """The frequencies within a disc around zero, whose radius is a fifth of the shorter side.

    Args:
        planes: ``(..., height, width)`` float32.
    """
    height, width = planes.shape[-2:]
    radius = min((side for side in (height, width) if side > 1), default=1) // 5
    rows = torch.arange(height, device=planes.device) - height // 2
    columns = torch.arange(width, device=planes.device) - width // 2
    inside = rows[:, None] ** 2 + columns**2 <= radius**2
    spectrum = torch.fft.fftshift(torch.fft.fft2(planes), dim=(-2, -1)) * inside
    low: Tensor = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    return low
