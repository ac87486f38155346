"""What a record is made for: all of a pipeline and a run that could make another record necessary."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from skipstone.cachers.contract.words import RunFacts
from skipstone.pipelines.model.compiled import written

SAMPLED_PARAMETERS = 16
"""Parameters of a model of which a few values are looked at, to tell one set of weights from another."""


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
        "weights": digest(list(_some_values(model))),
        "adapters": sorted(set(_adapters(model))),
    }


def _some_values(model: nn.Module) -> Iterator[list[float]]:
    """A few weights: of a fine-tuned model, or with an adapter merged into it, they are others."""
    parameters = [parameter for parameter in model.parameters() if parameter.device.type != "meta"]
    for parameter in parameters[:: max(1, len(parameters) // SAMPLED_PARAMETERS)]:
        values: list[float] = parameter.detach().flatten()[:4].to("cpu", torch.float32).tolist()
        yield values


def _adapters(model: nn.Module) -> Iterator[str]:
    """The adapters that take part, each with its scales."""
    for module in model.modules():
        active = getattr(module, "active_adapters", None)
        scaling = getattr(module, "scaling", None)
        if isinstance(active, (list, tuple)) and isinstance(scaling, Mapping):
            yield from (f"{name} {float(scaling[name]):g}" for name in active if name in scaling)
