"""A measured and trained `BlockCaching` as a file."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.scale_shift import ScaleShift
from skipstone.pipelines import bundled

CHANGES, ADJUSTMENT = "changes.", "adjustment."
"""The prefixes of the tensors' names in the file."""


def save_block_caching(method: BlockCaching, path: str | Path, /) -> None:
    """Write a method with its measured changes, and its adjustment if it has one, to a safetensors file.

    Args:
        method: from `skipstone.fit_block_caching`, or trained.
        path: the file.

    Raises:
        ValueError: the method has no changes.
    """
    if not method.changes:
        raise ValueError("nothing was measured: save what skipstone.fit_block_caching(pipe, prompts) gives")
    tensors = {CHANGES + name: torch.tensor(v, dtype=torch.float64) for name, v in method.changes.items()}
    learned = {} if method.adjustment is None else method.adjustment.state_dict()
    tensors |= {ADJUSTMENT + name: value.contiguous() for name, value in learned.items()}
    save_file(tensors, path, {"threshold": repr(method.threshold)})


def load_block_caching(path: str | Path, /, device: str = "cpu") -> BlockCaching:
    """Read a method from a file that `save_block_caching` wrote.

    Args:
        path: the file, or the name of a bundled model that comes with one.
        device: the adjustment's device; best that of the model.
    """
    with safe_open(bundled.block_caching(str(path)) or path, "pt", device) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        threshold = float(file.metadata()["threshold"])
    learned = _named(tensors, ADJUSTMENT)
    adjustment = ScaleShift.from_state_dict(learned).to(device) if learned else None
    changes = {name: tuple(values.tolist()) for name, values in _named(tensors, CHANGES).items()}
    return BlockCaching(threshold, changes, adjustment)


def _named(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
