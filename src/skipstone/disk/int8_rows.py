"""Weights as int8 rows with a scale a row: a quarter of the bytes of float32."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCALE = ":scale"
"""What follows a weight's name in the name of its scales."""

LEAST = 1024
"""Tensors of fewer elements stay as they are."""


def save_rows(weights: Mapping[str, "Tensor"], path: Path) -> None:
    """Write weights to a file.

    Args:
        weights: tensors by name, as of ``state_dict()``.
        path: the file, replaced if it exists.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, value in weights.items():
        tensors |= quantised(name, value.detach().float().cpu())
    save_file(tensors, path)


def load_rows(path: Path) -> dict[str, "Tensor"]:
    """The weights of a file in float32, by name."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    return {name: restored(name, tensors) for name in tensors if not name.endswith(SCALE)}


def quantised(name: str, value: "Tensor") -> dict[str, "Tensor"]:
    """A tensor as it is stored: rows are along its first dimension."""
    import torch

    if value.ndim < 2 or value.numel() < LEAST:
        return {name: value.contiguous()}
    rows = value.flatten(1)
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return {name: (rows / scale).round().to(torch.int8).view(value.shape), name + SCALE: scale[:, 0]}


def restored(name: str, tensors: Mapping[str, "Tensor"]) -> "Tensor":
    """A stored tensor in float32."""
    value, scale = tensors[name], tensors.get(name + SCALE)
    return value if scale is None else value.float() * scale.view(-1, *[1] * (value.ndim - 1))
