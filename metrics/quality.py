"""How close one clip is to another: PSNR and SSIM, frame by frame."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure


@dataclass(frozen=True)
class Quality:
    """How close a clip is to its reference.

    Args:
        psnr: peak signal-to-noise ratio of the whole clip (of its mean squared error) in dB; infinite where
            the two are identical.
        psnr_worst_frame: the same of the frame that differs most.
        ssim: structural similarity, mean over frames; 1 where the two are identical.
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
    whole = peak_signal_noise_ratio(*_pair(frames, reference), data_range=1.0)
    by_psnr, by_ssim = psnr(frames, reference), ssim(frames, reference)
    return Quality(float(whole), float(by_psnr.min()), float(by_ssim.mean()), float(by_ssim.min()))


def psnr(frames: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame in dB, ``(frames,)``; arguments as of `quality`."""
    pair = _pair(frames, reference)
    return peak_signal_noise_ratio(*pair, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(frames: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each frame, ``(frames,)``; arguments as of `quality`, sides of 11 or more.

    One frame at a time, so that a long clip needs no more memory than a picture.
    """
    first, second = _pair(frames, reference)
    pairs = zip(first.unsqueeze(1), second.unsqueeze(1), strict=True)
    return torch.stack([_frame_ssim(*pair) for pair in pairs])


def _frame_ssim(frame: Tensor, reference: Tensor) -> Tensor:
    score = structural_similarity_index_measure(frame, reference, data_range=1.0)
    assert isinstance(score, Tensor)
    return score


def _pair(frames: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both clips with channels first, as torchmetrics takes them."""
    if frames.shape != reference.shape or frames.ndim != 4:
        raise ValueError(
            "expected two clips (frames, height, width, channels) of one shape, "
            f"got {tuple(frames.shape)} and {tuple(reference.shape)}"
        )
    first, second = (clip.float().movedim(-1, 1).contiguous() for clip in (frames, reference))
    return first, second
