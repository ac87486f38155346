"""The models that a pipeline calls on its steps, and what a method may know of them."""

from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.words import ModelFacts
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.model.spread_weights import class_name

MODELS = ("transformer", "transformer_2", "unet")
"""The attributes in which diffusers pipelines keep these models."""


def models_of(pipe: Any) -> dict[str, nn.Module]:
    """The models of a pipeline that are called on its steps, by name."""
    return {name: part for name in MODELS if isinstance(part := getattr(pipe, name, None), nn.Module)}


def is_on(model: nn.Module, device: torch.device) -> bool:
    """Whether a model's first weights are on a device. Of a model offloaded as a whole all are, or none."""
    first = next(model.parameters(), None)
    return first is None or first.device == device


def facts_of(name: str, model: nn.Module, siblings: tuple[str, ...]) -> ModelFacts:
    """The facts of a model that a method may use."""
    blocks = sum(len(its) for path, its in block_lists(model).items() if "refiner" not in path)
    return ModelFacts(class_name(model), dict(getattr(model, "config", {})), name, siblings, blocks)
