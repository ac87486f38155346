"""FreqCa: reuse the low frequencies of the residual, and continue the high ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Bands, Step
from skipstone.cachers.predictors.hermite import Hermite


@dataclass(frozen=True)
class FreqCa(Hermite):
    """Reuse the low frequencies of the residual, and continue the high ones in Hermite polynomials.

    Low frequencies change little from one step to the next but not smoothly; high ones change more, along a
    line that can be continued.

    Use: where fine detail changes faster than the outline.
    Source: FreqCa, arXiv:2510.08669, https://github.com/Tammytcl/FreqCa.
    Difference: the spectrum is the official code's Fourier transform along the tokens, which it uses on
    Qwen-Image and for which no grid has to be known; its cosine transform for FLUX takes square images only.
    What has channels before a grid (the outputs of models and what UNets keep) is transformed along the grid.
    What the blocks add is split, where the official code splits the hidden state after them. It takes the
    differences of every order over the last interval; here they are divided differences over the computed
    steps, the same where these are evenly spaced. Its first 3 steps are a gate's affair: ``Warmup``.

    Args:
        order: the highest polynomial for the high frequencies, from 0 (reuse); one more residual is held.
        scale: the contraction of the polynomials, above 0 and at most 1; one over steps.
        cutoff: up to which part of the highest frequency a frequency is low, 0 to 1.

    Raises:
        ValueError: a negative order, or a scale or a cutoff outside its range.
    """

    name: ClassVar[str] = "freqca"

    scale: float = 0.71
    cutoff: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.cutoff <= 1:
            raise ValueError(f"cutoff must be between 0 and 1, got {self.cutoff}")

    def weights(self, step: Step, computed: Sequence[Step]) -> Bands:
        newest = (1.0,) + (0.0,) * (len(computed) - 1)
        return Bands(newest, self.all_weights(step, computed), partial(low_frequencies, cutoff=self.cutoff))


def low_frequencies(values: Tensor, cutoff: float) -> Tensor:
    """What is left of values without their high frequencies.

    Args:
        values: ``(batch, tokens, dim)``, or ``(batch, channels, *grid)`` with a grid of two axes or more.
        cutoff: up to which part of the highest frequency a frequency is low, 0 to 1.
    """
    axes = tuple(range(2, values.ndim)) if values.ndim > 3 else (1,)
    *outer, last = sizes = [values.shape[axis] for axis in axes]
    lines = [*map(torch.fft.fftfreq, outer), torch.fft.rfftfreq(last)]
    radius = torch.stack(torch.meshgrid(lines, indexing="ij")).norm(dim=0).to(values.device)
    is_low = radius <= cutoff * radius.max()
    if values.ndim == 3:
        is_low = is_low.unsqueeze(-1)
    spectrum = torch.fft.rfftn(values.float(), dim=axes)
    low: Tensor = torch.fft.irfftn(spectrum * is_low, s=sizes, dim=axes)
    return low.to(values.dtype)
