"""The models that a pipeline calls on its steps."""

from typing import Any

from torch import nn

MODELS = ("transformer", "transformer_2", "unet")
"""The attributes in which diffusers pipelines keep these models."""


def models_of(pipe: Any) -> dict[str, nn.Module]:
    """The models of a pipeline that are called on its steps, by name."""
    return {name: part for name in MODELS if isinstance(part := getattr(pipe, name, None), nn.Module)}
