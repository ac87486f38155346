"""LPIPS: how different two pictures look to a network that was trained on photographs."""

from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from skipstone.disk.weights import INSTALL, folder_of
from skipstone.metrics.pair import Pair

WEIGHTS = "lpips-alexnet"
"""The name of the folder with the weights, which come in a package of their own."""

FILE = "lpips_alexnet.safetensors"

SMALLEST = 31
"""The smallest side in pixels for which all five layers have an output."""

STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2)
"""Of AlexNet's five convolutions; before those in the last tuple the maps are pooled."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and spread of the three colours in [-1, 1] that the network expects."""


def obstacle() -> str | None:
    """Why nothing can be measured, or None."""
    return f"its weights are not installed: {INSTALL}" if folder_of(WEIGHTS) is None else None


def lpips(clips: Pair) -> Tensor:
    """LPIPS 0.1 with AlexNet of each frame, ``(frames,)``: 0 for identical ones, about 1 for unrelated ones.

    Source: arXiv:1801.03924, https://github.com/richzhang/PerceptualSimilarity.
    Difference: the weights are kept in half precision, which moves values in the fourth decimal place.

    Args:
        clips: both clips, with sides of at least `SMALLEST` pixels.
    """
    return torch.stack([sum(map(torch.mean, maps), torch.zeros(())) for maps in _maps(clips)])


def spatial_lpips(clips: Pair) -> Tensor:
    """`lpips`, but each layer's map is resized to the image before its mean is taken."""
    size = clips.frames.shape[-2:]
    spread = ([F.interpolate(m, size, mode="bilinear") for m in maps] for maps in _maps(clips))
    return torch.stack([sum(map(torch.mean, maps), torch.zeros(())) for maps in spread])


def _maps(clips: Pair) -> Iterator[list[Tensor]]:
    """Each layer's map of distances, for one frame after the other, to save memory."""
    weights = {name: tensor.to(clips.frames.device) for name, tensor in _weights().items()}
    for pair in zip(clips.frames.unsqueeze(1), clips.reference.unsqueeze(1), strict=True):
        first, second = (_features(picture, weights) for picture in pair)
        yield [
            F.conv2d((a - b) ** 2, weights[f"head{n}.weight"])
            for n, (a, b) in enumerate(zip(first, second, strict=True))
        ]


def _features(picture: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """Each layer's features, ``(1, channels, height, width)``, with unit length over the channels."""
    shift, scale = (picture.new_tensor(values).reshape(1, 3, 1, 1) for values in (SHIFT, SCALE))
    maps, layers = (picture * 2 - 1 - shift) / scale, []
    for n, (stride, padding) in enumerate(zip(STRIDES, PADDINGS, strict=True)):
        if n in POOLED:
            maps = F.max_pool2d(maps, 3, 2)
        maps = F.conv2d(maps, weights[f"layer{n}.weight"], weights[f"layer{n}.bias"], stride, padding).relu()
        layers.append(maps / (maps.norm(dim=1, keepdim=True) + 1e-10))
    return layers


@cache
def _weights() -> dict[str, Tensor]:
    from safetensors.torch import load_file

    folder = folder_of(WEIGHTS)
    if folder is None:
        raise ValueError(f"the weights of LPIPS are not installed: {INSTALL}")
    return {name: tensor.float() for name, tensor in load_file(folder / FILE).items()}
