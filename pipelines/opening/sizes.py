"""The sizes that a pipeline can make, read from the pipeline itself."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

SPATIAL = (
    "vae_scale_factor_spatial",
    "vae_spatial_compression_ratio",
    "vae_spatial_scale_factor",
    "vae_scale_factor",
)
"""The attributes that tell how many pixels one latent pixel stands for."""

TEMPORAL = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_temporal_scale_factor")
"""The attributes that tell how many frames one latent frame stands for."""


def check_sizes(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse sizes that a pipeline would round.

    Args:
        pipe: the pipeline.
        arguments: those of its call.

    Raises:
        ValueError: a side that is not a multiple of the model's unit, or a number of frames between those
            that it can make.
    """
    for name, multiple in zip(("height", "width"), side_multiples(pipe), strict=True):
        _check(pipe, name, arguments.get(name), multiple, 0)
    frames = _frame_rule(pipe)
    if frames is not None:
        _check(pipe, "frames", arguments.get("num_frames"), *frames)


def side_multiples(pipe: Any) -> tuple[int, int]:
    """The unit of height and width: pixels of a latent pixel, times the model's patch size."""
    pixels = _first(pipe, SPATIAL) or 1
    config = getattr(getattr(pipe, "transformer", None), "config", {})
    patch = config.get("patch_size") or 1
    height, width = patch[-2:] if isinstance(patch, Sequence) else (patch, patch)
    # Only the image processor knows that a pipeline packs latents itself.
    processor = getattr(getattr(pipe, "image_processor", None), "config", {}).get("vae_scale_factor", 1)
    return max(pixels * height, processor), max(pixels * width, processor)


def _frame_rule(pipe: Any) -> tuple[int, int] | None:
    """The frames of one latent frame, and the remainder that the pipeline's default shows."""
    factor = _first(pipe, TEMPORAL)
    parameter = inspect.signature(type(pipe).__call__).parameters.get("num_frames")
    if factor is None or parameter is None or not isinstance(parameter.default, int):
        return None
    return factor, parameter.default % factor


def _first(pipe: Any, names: tuple[str, ...]) -> int | None:
    return next((getattr(pipe, name) for name in names if hasattr(pipe, name)), None)


def _check(pipe: Any, name: str, value: int | None, multiple: int, rest: int) -> None:
    if value is None or value % multiple == rest:
        return
    lower = (value - rest) // multiple * multiple + rest
    near = " or ".join(str(n) for n in (lower, lower + multiple) if n > 0)
    rule = f"a multiple of {multiple}" + (f" plus {rest}" if rest else "")
    raise ValueError(f"{type(pipe).__name__} cannot make {name} {value}: it must be {rule}, such as {near}")
