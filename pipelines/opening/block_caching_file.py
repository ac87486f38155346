"""A measured and trained `BlockCaching` as a file."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.scale_shift import ScaleShift
from skipstone.disk.errors import FileError, cannot, shortened
from skipstone.disk.writing import write
from skipstone.pipelines import bundled

CHANGES, ADJUSTMENT = "changes.", "adjustment."
"""The prefixes of the tensors' names in the file."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_block_caching(method: BlockCaching, path: str | Path, /) -> None:
    """Write a method with its measured changes, and its adjustment if it has one, to a safetensors file.

    Args:
        method: from `skipstone.fit_block_caching`, or trained.
        path: the file.

    Raises:
        FileError: the file cannot be written; what was there is unchanged.
        ValueError: the method has no changes.
    """
    if not method.changes:
        raise ValueError("nothing was measured: save what skipstone.fit_block_caching(pipe, prompts) gives")
    tensors = {CHANGES + name: torch.tensor(v, dtype=torch.float64) for name, v in method.changes.items()}
    learned = {} if method.adjustment is None else method.adjustment.state_dict()
    tensors |= {ADJUSTMENT + name: value.contiguous() for name, value in learned.items()}
    content = save(tensors, {"threshold": repr(method.threshold)})
    write(Path(path), lambda part: _write_bytes(part, content))


def load_block_caching(path: str | Path, /, device: str = "cpu") -> BlockCaching:
    """Read a method from a file that `save_block_caching` wrote.

    Args:
        path: the file, or the name of a bundled model that comes with one.
        device: the adjustment's device; best that of the model.

    Raises:
        FileError: the file cannot be read, is not safetensors, or is damaged.
    """
    file = bundled.block_caching(str(path)) or Path(path)
    tensors, threshold = _read(file, device)
    try:
        _check_finite(tensors)
        changes = _changes(_named(tensors, CHANGES))
        adjustment = _adjustment(_named(tensors, ADJUSTMENT))
        return BlockCaching(float(threshold), changes, None if adjustment is None else adjustment.to(device))
    except ValueError as error:
        said = shortened(str(error))
        raise FileError(f"{str(file)!r} is damaged: {said}; measure and train it again") from None


def _read(path: Path, device: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file, and the text of its threshold."""
    if not os.path.isfile(path):
        raise FileError(f"cannot read {str(path)!r}: there is no such file; name another file")
    try:
        with safe_open(path, "pt", device) as file:
            threshold = (file.metadata() or {}).get("threshold", "missing")
            return {name: file.get_tensor(name) for name in file.keys()}, threshold  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise cannot("read", path, error) from None


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not name.startswith((CHANGES, ADJUSTMENT)) or not name.isprintable():
            raise ValueError(f"it has a tensor {name[:80]!r}")
        if value.dtype not in FLOATS or not torch.isfinite(value).all():
            raise ValueError(f"{name} should have finite numbers")


def _changes(found: Mapping[str, Tensor]) -> dict[str, tuple[float, ...]]:
    """The changes of each block, all of the same run.

    Raises:
        ValueError: they are not.
    """
    counts = {value.shape for value in found.values()}
    if len(counts) != 1 or len(next(iter(counts))) != 1 or 0 in next(iter(counts)):
        raise ValueError("changes should have one value for each step of one run")
    if any((value < 0).any() for value in found.values()):
        raise ValueError("changes should not be negative")
    return {name: tuple(values.tolist()) for name, values in found.items()}


def _adjustment(found: Mapping[str, Tensor]) -> ScaleShift | None:
    """The module of these weights, None without any.

    Raises:
        ValueError: they are those of no such module.
    """
    return ScaleShift.from_state_dict(found) if found else None


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
