"""What figures were measured on."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def about(device: str) -> dict[str, Any]:
    """The machine and the versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {"device": name, **{package: _version(package) for package in ("torch", "triton", "diffusers")}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
