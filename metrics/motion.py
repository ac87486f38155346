"""What single frames cannot show: flicker, and the speed of motion."""

import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.metrics.pair import Pair

LEVELS, ROUNDS, WINDOW = 4, 4, 11
"""Of the optical flow: sizes of the picture, refinements of each, and the side of the windows in pixels."""

NOISE = 1e-6
"""A window whose squared gradients are below this counts as still."""


def flicker(clips: Pair) -> Tensor:
    """How much the difference between the clips changes from each frame to the next, ``(frames - 1,)``.

    It is the mean absolute difference of their changes: 0 if the clip differs from its reference in the same
    way in every frame.
    """
    changes, wanted = (clip[1:] - clip[:-1] for clip in (clips.frames, clips.reference))
    return (changes - wanted).abs().mean(dim=(1, 2, 3))


def flow_difference(clips: Pair) -> Tensor:
    """The difference of the mean speeds of motion, in pixels a frame, ``(frames - 1,)``."""
    return (_speeds(clips.frames) - _speeds(clips.reference)).abs()


def _speeds(clip: Tensor) -> Tensor:
    gray = clip.mean(dim=1, keepdim=True)
    pairs = zip(gray[:-1].unsqueeze(1), gray[1:].unsqueeze(1), strict=True)
    return torch.stack([optical_flow(*frames).norm(dim=1).mean() for frames in pairs])


def optical_flow(first: Tensor, second: Tensor) -> Tensor:
    """Where each pixel of a picture goes in the next one, in pixels to the right and down.

    Source: Lucas and Kanade, "An iterative image registration technique", 1981, at every pixel and on a
    pyramid of halved pictures, in the form that converges: Le Besnerais and Champagnat, "Dense optical flow
    by iterative local window registration", 2005.

    Args:
        first: ``(1, 1, height, width)``, gray values in [0, 1].
        second: the same shape.

    Returns:
        ``(1, 2, height, width)``.
    """
    pyramid = [(first, second)]
    while len(pyramid) < LEVELS and min(pyramid[-1][0].shape[-2:]) >= 2 * WINDOW:
        a, b = pyramid[-1]
        pyramid.append((F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)))
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for a, b in reversed(pyramid):
        flow = _enlarged(flow, a)
        for _ in range(ROUNDS):
            flow = _solved(a, _moved_back(b, flow), flow)
    return flow


def _enlarged(flow: Tensor, picture: Tensor) -> Tensor:
    size = picture.shape[-2:]
    if flow.shape[-2:] == size:
        return flow
    return 2 * F.interpolate(flow, size, mode="bilinear", align_corners=False)


def _moved_back(picture: Tensor, flow: Tensor) -> Tensor:
    """The image, sampled where each pixel's flow points."""
    height, width = picture.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=picture.device), torch.arange(width, device=picture.device), indexing="ij"
    )
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def _solved(first: Tensor, moved: Tensor, flow: Tensor) -> Tensor:
    """The flow that best explains the window around each pixel, close to the flow so far."""
    dx, dy = (_slope((first + moved) / 2, axis) for axis in (-1, -2))
    left = first - moved + dx * flow[:, :1] + dy * flow[:, 1:]
    xx, yy, xy = _window(dx * dx) + NOISE, _window(dy * dy) + NOISE, _window(dx * dy)
    x, y = _window(dx * left), _window(dy * left)
    return torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy * xy)


def _slope(picture: Tensor, axis: int) -> Tensor:
    """Half the difference of the two neighbours along an axis; the edges are repeated."""
    sides = (1, 1, 0, 0) if axis == -1 else (0, 0, 1, 1)
    padded, size = F.pad(picture, sides, mode="replicate"), picture.shape[axis]
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2


def _window(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)
