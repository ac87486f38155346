"""FreqCa: reuse the low frequencies of the residual, and extrapolate the high ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from skipstone.cachers.contract.words import Bands, Step
from skipstone.cachers.predictors.hermite import Hermite, Scale
from skipstone.declared import Share


@dataclass(frozen=True)
class FreqCa(Hermite):
    """Reuse the low frequencies of the residual, and extrapolate the high ones with Hermite polynomials.

    Low frequencies change little from step to step, but not smoothly. High ones change more, along a line
    that can be extrapolated.

    Use: if fine detail changes faster than the outline.
    Source: FreqCa, arXiv:2510.08669, https://github.com/Tammytcl/FreqCa.
    Difference: the transform is the Fourier transform along the tokens, which the official code uses for
    Qwen-Image and which needs no grid; its cosine transform for FLUX works for square images only. Tensors
    with channels before a grid (outputs of models, and what UNets keep) are transformed along the grid. The
    residual is split; the official code splits the hidden state after the blocks. Differences are divided
    differences over the computed steps, which equal the official ones at even spacing. For its 3 computed
    first steps, use ``Warmup``.

    Args:
        order: the highest polynomial for the high frequencies, from 0 (reuse). ``order + 1`` residuals are
            held.
        scale: the contraction of the polynomials, above 0 and at most 1, per step.
        cutoff: frequencies up to this share of the highest one are low, 0 to 1.

    Raises:
        ValueError: a negative order, or a scale or a cutoff outside its range.
    """

    name: ClassVar[str] = "freqca"

    scale: Scale = 0.71
    cutoff: Share = 0.1

    def weights(self, step: Step, computed: Sequence[Step]) -> Bands:
        newest = (1.0,) + (0.0,) * (len(computed) - 1)
        return Bands(newest, self.all_weights(step, computed), partial(low_frequencies, cutoff=self.cutoff))


def low_frequencies(values: Tensor, cutoff: float) -> Tensor:
    """The low frequencies of some values.

    Args:
        values: ``(batch, tokens, dim)``, or ``(batch, channels, *grid)`` with a grid of two axes or more.
        cutoff: frequencies up to this share of the highest one are low, 0 to 1.
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
