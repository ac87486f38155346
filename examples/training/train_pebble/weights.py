"""Weights as int8 rows with a scale a row: a quarter of the bytes, and close enough to prove plans on."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SCALE = ":scale"
LEAST = 1024
"""Tensors of fewer elements stay as they are."""


def save(networks: dict[str, nn.Module], path: Path) -> None:
    """Write the networks' weights to one file."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors |= quantised(f"{name}/{key}", value.detach().float().cpu())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.rename(path)


def restore(networks: dict[str, nn.Module], path: Path) -> None:
    """Fill the networks with the weights of a file."""
    tensors = load_file(path)
    for name, network in networks.items():
        prefix = f"{name}/"
        own = [key for key in tensors if key.startswith(prefix) and not key.endswith(SCALE)]
        network.load_state_dict({key.removeprefix(prefix): restored(key, tensors) for key in own})


def quantised(key: str, value: Tensor) -> dict[str, Tensor]:
    """A tensor as it is stored: rows are along its first dimension."""
    if value.ndim < 2 or value.numel() < LEAST:
        return {key: value.contiguous()}
    rows = value.flatten(1)
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return {key: (rows / scale).round().to(torch.int8).view(value.shape), key + SCALE: scale[:, 0]}


def restored(key: str, tensors: dict[str, Tensor]) -> Tensor:
    """A stored tensor in float32."""
    value, scale = tensors[key], tensors.get(key + SCALE)
    return value if scale is None else value.float() * scale.view(-1, *[1] * (value.ndim - 1))
