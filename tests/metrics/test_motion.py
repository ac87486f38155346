"""Flicker and motion against pictures that move as they are told."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.metrics.motion import flicker, flow_difference, optical_flow
from skipstone.metrics.pair import pair

MARGIN = 12


def texture(right: float = 0.0, down: float = 0.0) -> Tensor:
    """Smooth spots, moved so many pixels, ``(1, 1, 96, 120)``."""
    spots = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(spots, (120, 144), mode="bicubic")
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(144.0), indexing="ij")
    grid = torch.stack([(2 * (columns - right) + 1) / 144 - 1, (2 * (rows - down) + 1) / 120 - 1], dim=-1)
    moved = F.grid_sample(picture, grid[None], mode="bicubic", align_corners=False)
    return moved[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def clip(*shifts: float) -> Tensor:
    """Frames of a texture that is so many pixels to the right in each, ``(frames, 96, 120, 3)``."""
    return torch.cat([texture(shift) for shift in shifts]).movedim(1, -1).repeat(1, 1, 1, 3)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -1.0), (0.5, 0.5), (5.0, 3.0), (-7.0, 0.0)], ids=str)
def test_the_flow_of_a_shift(shift: tuple[float, float]) -> None:
    flow = optical_flow(texture(), texture(*shift))[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert flow.mean(dim=(0, 2, 3)).tolist() == pytest.approx(shift, abs=0.05)
    assert flow.std(dim=(0, 2, 3)).max() < 0.15


def test_a_flat_picture_does_not_move() -> None:
    flat = torch.full((1, 1, 40, 40), 0.5)
    assert optical_flow(flat, flat + 0.1).norm() < 1e-3


def test_motion_at_another_speed() -> None:
    difference = flow_difference(pair(clip(0, 3, 6), clip(0, 1, 2)))
    assert difference.tolist() == pytest.approx([2, 2], abs=0.3)


def test_motion_the_other_way_is_as_fast() -> None:
    assert flow_difference(pair(clip(0, -2), clip(0, 2))).item() < 0.2


def test_a_constant_difference_does_not_flicker() -> None:
    assert flicker(pair(clip(0, 1, 2) + 0.1, clip(0, 1, 2))).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_a_difference_in_one_frame_flickers_twice() -> None:
    changed = clip(0, 1, 2, 3)
    changed[1] += 0.1
    assert flicker(pair(changed, clip(0, 1, 2, 3))).tolist() == pytest.approx([0.1, 0.1, 0], abs=1e-6)


def test_the_speed_is_the_length_of_the_flow() -> None:
    moved = torch.cat([texture(), texture(3, 4)]).movedim(1, -1).repeat(1, 1, 1, 3)
    assert flow_difference(pair(moved, clip(0, 0))).item() == pytest.approx(math.hypot(3, 4), abs=0.5)
