"""Which sizes a pipeline can make, read from the pipeline itself."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

SPATIAL = (
    "vae_scale_factor_spatial",
    "vae_spatial_compression_ratio",
    "vae_spatial_scale_factor",
    "vae_scale_factor",
)
"""Where pipelines keep how many pixels one latent pixel stands for."""

TEMPORAL = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_temporal_scale_factor")
"""Where pipelines keep how many frames one latent frame stands for."""


def check_sizes(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse sizes that a pipeline would round to others.

    Args:
        pipe: the pipeline.
        arguments: those of its call.

    Raises:
        ValueError: a side that is no multiple of what the model needs, or a number of frames between those
            that it can make.
    """
    for name, multiple in zip(("height", "width"), side_multiples(pipe), strict=True):
        _check(pipe, name, arguments.get(name), multiple, 0)
    frames = _frame_rule(pipe)
    if frames is not None:
        _check(pipe, "frames", arguments.get("num_frames"), *frames)


def side_multiples(pipe: Any) -> tuple[int, int]:
    """What height and width must be multiples of: latent pixels times the model's patches."""
    pixels = _first(pipe, SPATIAL) or 1
    config = getattr(getattr(pipe, "transformer", None), "config", {})
    patch = config.get("patch_size") or 1
    height, width = patch[-2:] if isinstance(patch, Sequence) else (patch, patch)
    # Pipelines that pack latents themselves say so to their image processor only.
    processor = getattr(getattr(pipe, "image_processor", None), "config", {}).get("vae_scale_factor", 1)
    return max(pixels * height, processor), max(pixels * width, processor)


def _frame_rule(pipe: Any) -> tuple[int, int] | None:
    """The frames that one latent frame stands for, and what is left over, as the pipeline's default shows."""
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
