"""What a record is made for: all of a pipeline and a run that could make another record necessary."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.words import RunFacts
from skipstone.pipelines.model.adapters import adapter_layers, picture_scales
from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.planning.weights import statistics


def conditions(pipe: Any, models: Mapping[str, nn.Module], run: RunFacts) -> dict[str, Any]:
    """What a record of a run is good for, as plain values.

    Args:
        pipe: the pipeline, in the run or after it.
        models: its models by name.
        run: the run.
    """
    return {
        "pipeline": type(pipe).__name__,
        "models": {name: _of_model(written(model)) for name, model in models.items()},
        "scheduler": _of_part(pipe.scheduler),
        "steps": len(run.steps),
        "timesteps": digest([round(step.timestep, 3) for step in run.steps]),
        "guidance": dict(run.scales),
        "shape": list(run.shape),
        "dtype": run.dtype,
        "versions": {name: version(name) for name in ("skipstone", "torch", "diffusers")},
    }


def digest(value: Any) -> str:
    """A short name for plain values: the same for equal ones."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _of_part(part: Any) -> dict[str, str]:
    """Its class and its configuration, without what diffusers notes of where that came from."""
    config = {key: value for key, value in dict(getattr(part, "config", {})).items() if key[:1] != "_"}
    return {"class": type(part).__name__, "config": digest(config)}


def _of_model(model: nn.Module) -> dict[str, Any]:
    return {
        **_of_part(model),
        "weights": digest(statistics(model)),
        "adapters": sorted({text for layer in adapter_layers(model) for text in _adapters(layer)}),
        "layers": digest([(_adapters(layer), _fused(layer)) for layer in adapter_layers(model)]),
        "pictures": digest([_numbers(names["scale"]) for names in picture_scales(model)]),
    }


def _adapters(layer: Any) -> list[str]:
    """The adapters that take part in a layer, each with its scale."""
    if layer._disable_adapters:
        return []
    names, scales = layer.active_adapters, getattr(layer, "scaling", {})
    return [f"{name} {float(scales[name]):g}" for name in names if name in scales]


def _fused(layer: Any) -> list[str]:
    return list(getattr(layer, "merged_adapters", []))


def _numbers(scale: Any) -> Any:
    """A picture's scale, one number or a list for each picture, without where it is kept."""
    if isinstance(scale, (list, tuple)):
        return [_numbers(one) for one in scale]
    return scale.tolist() if isinstance(scale, torch.Tensor) else scale
