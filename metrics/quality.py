"""How close one clip is to another in its pixels: PSNR, SSIM and MS-SSIM, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from skipstone.metrics.pair import Pair, pair

MOST = 100.0
"""The PSNR that identical frames count as, in dB: that of a mean squared error of 1e-10."""


SMALLEST_OF_SCALES = 176
"""The smallest side in pixels for MS-SSIM, which halves the image four times and uses windows of 11."""


@dataclass(frozen=True)
class Quality:
    """How close a clip is to its reference.

    Args:
        psnr: peak signal-to-noise ratio of the whole clip (of its mean squared error) in dB; infinite if the
            two are identical.
        psnr_worst_frame: the same of the frame that differs most.
        ssim: structural similarity, mean over frames; 1 if the two are identical.
        ssim_worst_frame: the same of the frame that differs most.
    """

    psnr: float
    psnr_worst_frame: float
    ssim: float
    ssim_worst_frame: float

    def __str__(self) -> str:
        if self.psnr == float("inf"):
            return "identical"
        return (
            f"PSNR {self.psnr:.1f} dB (worst frame {self.psnr_worst_frame:.1f}), "
            f"SSIM {self.ssim:.3f} (worst frame {self.ssim_worst_frame:.3f})"
        )


def quality(frames: Tensor, reference: Tensor) -> Quality:
    """Compare a clip with its reference.

    Args:
        frames: ``(frames, height, width, channels)``, values in [0, 1].
        reference: the same shape.

    Raises:
        ValueError: different shapes.
    """
    clips = pair(frames, reference)
    whole = peak_signal_noise_ratio(clips.frames, clips.reference, data_range=1.0)
    by_psnr, by_ssim = psnr(clips), ssim(clips)
    return Quality(float(whole), float(by_psnr.min()), float(by_ssim.mean()), float(by_ssim.min()))


def psnr(clips: Pair) -> Tensor:
    """Peak signal-to-noise ratio of each frame in dB, ``(frames,)``."""
    return peak_signal_noise_ratio(
        clips.frames, clips.reference, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )


def capped_psnr(clips: Pair) -> Tensor:
    """`psnr`, at most `MOST`, so that means over frames and over clips exist."""
    return psnr(clips).clamp(max=MOST)


def ssim(clips: Pair) -> Tensor:
    """Structural similarity of each frame, ``(frames,)``; sides of 11 pixels or more."""
    return _by_frame(clips, structural_similarity_index_measure)


def ms_ssim(clips: Pair) -> Tensor:
    """Structural similarity over five scales of each frame; sides of `SMALLEST_OF_SCALES` or more."""
    return _by_frame(clips, multiscale_structural_similarity_index_measure)


def _by_frame(clips: Pair, measure: Callable[..., Any]) -> Tensor:
    """One frame at a time, so that a long clip needs no more memory than an image."""
    pairs = zip(clips.frames.unsqueeze(1), clips.reference.unsqueeze(1), strict=True)
    return torch.stack([measure(*frames, data_range=1.0) for frames in pairs])
