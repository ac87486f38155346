"""What a record is made for in ComfyUI: model, adapters, sampler, noise levels, guidance and size."""

import weakref
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from skipstone.cachers.contract.words import RunFacts
from skipstone.comfyui.contract import DIFFUSION_MODEL, Sampling
from skipstone.comfyui.noise_levels import prediction_of
from skipstone.comfyui.plain import numbers, plain
from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.planning.conditions import digest
from skipstone.pipelines.planning.weights import statistics_of, stored

PROGRAM = "ComfyUI"

_weights: "weakref.WeakKeyDictionary[nn.Module, str]" = weakref.WeakKeyDictionary()
"""The digest of each model's weights. ComfyUI loads and unloads a model's weights, and never trains them."""


def made_for(sampling: Sampling, run: RunFacts) -> dict[str, Any]:
    """Describe the runs that a record of this run serves, as plain values."""
    patcher, guider = sampling.patcher, sampling.guider
    return {
        "pipeline": PROGRAM,
        "models": {DIFFUSION_MODEL: model_facts(patcher)},
        "scheduler": {
            "class": sampling.sampler_name,
            "config": digest(plain(sampling.sampler_options, _shape)),
        },
        "steps": len(run.steps),
        "prediction": prediction_of(run.steps, patcher.get_model_object("model_sampling")),
        "timesteps": digest([f"{step.timestep:.5g}" for step in run.steps]),
        "guidance": dict(run.scales),
        "guider": [type(guider).__name__, numbers(guider)],
        "options": digest(plain(guider.model_options, _shape)),
        "windows": _windows(guider.model_options.get("context_handler")),
        "conditions": digest(_conditions(guider)),
        "control": digest(_controls(sampling)),
        "masked": sampling.masked,
        "shape": list(run.shape),
        "dtype": run.dtype,
        "versions": {name: version(name) for name in ("skipstone", "torch")},
    }


def model_of(patcher: Any) -> nn.Module:
    """The diffusion model as it is written."""
    return written(patcher.model.diffusion_model)


def model_facts(patcher: Any) -> dict[str, Any]:
    """The model's class, its weights without adapters, and the adapters."""
    model = model_of(patcher)
    if model not in _weights:
        _weights[model] = digest(statistics_of(list(_unpatched(patcher))))
    return {
        "class": type(model).__name__,
        "weights": _weights[model],
        "adapters": digest(plain(patcher.patches, _values)),
    }


def _unpatched(patcher: Any) -> Iterator[Tensor]:
    """The weights as they were loaded; adapters that are merged into them left a copy."""
    for name, weight in model_of(patcher).named_parameters():
        copy = patcher.backup.get(f"{DIFFUSION_MODEL}.{name}")
        yield from stored(weight if copy is None else copy.weight)


def _conditions(guider: Any) -> dict[str, list[dict[str, Any]]]:
    """What conditions say in numbers, such as a model's own guidance; their prompts do not count."""
    conds = getattr(guider, "conds", {}).items()
    return {
        name: [{key: value for key, value in one.items() if _is_number(value)} for one in several or ()]
        for name, several in conds
    }


def _windows(handler: Any) -> list[Any]:
    """How context windows are laid and joined: the settings that are numbers, and the names of the ways."""
    ways = (getattr(handler, part, None) for part in ("context_schedule", "fuse_method"))
    return [numbers(handler), *(getattr(way, "name", None) for way in ways)]


def _is_number(value: Any) -> bool:
    """Whether a value is a number, nothing, or a list of such."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_number, value))
    return value is None or isinstance(value, (int, float))


def _controls(sampling: Sampling) -> list[Any]:
    """The ControlNets, how strong each is, and in which part of a run."""
    found = []
    for control in sampling.controls:
        while control is not None:
            settings = (getattr(control, name, None) for name in ("strength", "timestep_percent_range"))
            found.append([type(control).__name__, *settings])
            control = getattr(control, "previous_controlnet", None)
    return found


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _values(tensor: Tensor) -> list[list[Any]]:
    return statistics_of(list(stored(tensor)))
