"""PSNR, SSIM and MS-SSIM against answers known by arithmetic."""

import math

import pytest
import torch

from skipstone.metrics.pair import pair
from skipstone.metrics.quality import ms_ssim, psnr, quality, ssim


def clip(frames: int = 3) -> torch.Tensor:
    return torch.rand(frames, 16, 20, 3, generator=torch.Generator().manual_seed(0)) * 0.5


def test_a_clip_equals_itself() -> None:
    result = quality(clip(), clip())
    assert result.psnr == result.psnr_worst_frame == math.inf
    assert result.ssim == pytest.approx(1)
    assert str(result) == "identical"


@pytest.mark.parametrize(("offset", "decibels"), [(0.1, 20), (0.01, 40), (0.5, 6.0206)])
def test_psnr_of_a_constant_offset(offset: float, decibels: float) -> None:
    assert psnr(pair(clip() + offset, clip())).tolist() == pytest.approx([decibels] * 3, abs=1e-3)


def test_the_worst_frame_is_the_one_that_differs() -> None:
    changed = clip()
    changed[1] += 0.1
    result = quality(changed, clip())
    assert result.psnr_worst_frame == pytest.approx(20, abs=1e-3)
    # A third of the squared error of that frame: 10 * log10(3) dB better.
    assert result.psnr == pytest.approx(20 + 10 * math.log10(3), abs=1e-3)
    assert result.ssim_worst_frame == pytest.approx(float(ssim(pair(changed, clip()))[1]))
    assert result.ssim == pytest.approx((2 + result.ssim_worst_frame) / 3)
    assert result.ssim_worst_frame < 0.99


def test_ssim_of_two_flat_pictures() -> None:
    # Without variance only the luminance term is left: (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2.
    dark, light = torch.full((1, 16, 16, 3), 0.2), torch.full((1, 16, 16, 3), 0.8)
    assert ssim(pair(dark, light)).item() == pytest.approx((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4), abs=1e-4)


def test_ms_ssim_of_two_flat_pictures() -> None:
    # Only the coarsest scale weighs luminance, with the exponent 0.1333.
    dark, light = torch.full((2, 176, 176, 3), 0.2), torch.full((2, 176, 176, 3), 0.8)
    luminance = (2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert ms_ssim(pair(dark, light)).tolist() == pytest.approx([luminance**0.1333] * 2, abs=1e-3)


def test_channels_are_not_taken_for_pixels() -> None:
    # A frame of the transposed picture has the same values elsewhere, so its structure differs.
    assert ssim(pair(clip()[:, :, :16], clip()[:, :, :16].transpose(1, 2))).max() < 0.5


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 16, 20, 3\) and \(2, 16, 20, 3\)"):
        quality(clip(3), clip(2))
