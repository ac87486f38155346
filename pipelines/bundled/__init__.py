"""The models that come with skipstone, trained by it: small, real, and free to use."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAMES = ("pebble-video", "pebble-image")


def load(name: str, **kwargs: Any) -> Any:
    """A bundled model as an ordinary diffusers pipeline.

    Args:
        name: ``pebble-video`` (text to video, a `WanPipeline`) or ``pebble-image`` (text to image, a
            `FluxPipeline`).
        kwargs: passed on to ``from_pretrained``, such as ``torch_dtype``.

    Raises:
        ValueError: no bundled model of that name.
    """
    if name not in NAMES:
        raise ValueError(f"unknown bundled model {name!r}; choose one of: {', '.join(NAMES)}")
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(FOLDER / name, local_files_only=True, **kwargs)
