"""What a record is made for: everything of a pipeline and a run whose change needs a new record."""

import hashlib
import json
import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.words import RunFacts
from skipstone.pipelines.model.adapters import adapter_layers, picture_scales
from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.model.spread_weights import class_name, spread_again
from skipstone.pipelines.planning.weights import statistics
from skipstone.pipelines.run.noise import prediction


def conditions(pipe: Any, models: Mapping[str, nn.Module], run: RunFacts) -> dict[str, Any]:
    """Describe the runs that a record of this run serves, as plain values.

    Args:
        pipe: the pipeline, during the run or after it.
        models: its models by name.
        run: the run.
    """
    home: torch.device | None = getattr(pipe, "_execution_device", None)
    return {
        "pipeline": type(pipe).__name__,
        "models": {name: _of_model(written(model), home) for name, model in models.items()},
        "scheduler": _of_part(pipe.scheduler),
        "steps": len(run.steps),
        "prediction": prediction(pipe.scheduler) if run.has_levels else "flow",
        "timesteps": digest([round(step.timestep, 3) for step in run.steps]),
        "guidance": dict(run.scales),
        "shape": list(run.shape),
        "dtype": run.dtype,
        "versions": {name: version(name) for name in ("skipstone", "torch", "diffusers")},
    }


def of_runs(pipe: Any, models: Mapping[str, nn.Module]) -> Callable[[RunFacts], dict[str, Any]]:
    """`conditions` of each run of a pipeline, which is held weakly."""
    held = weakref.ref(pipe)
    return lambda run: conditions(held(), models, run)


def digest(value: Any) -> str:
    """A short name for plain values, the same for equal values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _of_part(part: Any) -> dict[str, str]:
    """The class and the configuration of a part, without diffusers' notes on its origin."""
    config = {key: value for key, value in dict(getattr(part, "config", {})).items() if key[:1] != "_"}
    name = class_name(part) if isinstance(part, nn.Module) else type(part).__name__
    return {"class": name, "config": digest(config)}


def _of_model(model: nn.Module, home: torch.device | None) -> dict[str, Any]:
    # So each process sees the same part of the weights before its first call and after any.
    spread_again(model)
    return {
        **_of_part(model),
        "weights": digest(statistics(model, home)),
        "adapters": sorted({text for layer in adapter_layers(model) for text in _adapters(layer)}),
        "layers": digest([(_adapters(layer), _fused(layer)) for layer in adapter_layers(model)]),
        "pictures": digest([_numbers(names["scale"]) for names in picture_scales(model)]),
    }


def _adapters(layer: Any) -> list[str]:
    """The active adapters of a layer, each with its scale."""
    if layer._disable_adapters:
        return []
    names, scales = layer.active_adapters, getattr(layer, "scaling", {})
    return [f"{name} {float(scales[name]):g}" for name in names if name in scales]


def _fused(layer: Any) -> list[str]:
    return list(getattr(layer, "merged_adapters", []))


def _numbers(scale: Any) -> Any:
    """The scale of an image: one number, or a list with one for each image."""
    if isinstance(scale, (list, tuple)):
        return [_numbers(one) for one in scale]
    return scale.tolist() if isinstance(scale, torch.Tensor) else scale
