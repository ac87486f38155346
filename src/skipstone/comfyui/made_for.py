"""What a record is made for in ComfyUI: model, adapters, sampler, noise levels, guidance and size."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from skipstone.cachers.contract.words import RunFacts
from skipstone.comfyui.contract import DIFFUSION_MODEL, Sampling
from skipstone.comfyui.noise_levels import prediction_of
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
            "config": digest(_plain(getattr(sampling.sampler, "extra_options", {}), _shape)),
        },
        "steps": len(run.steps),
        "prediction": prediction_of(run.steps, patcher.get_model_object("model_sampling")),
        "timesteps": digest([f"{step.timestep:.5g}" for step in run.steps]),
        "guidance": dict(run.scales),
        "guider": [type(guider).__name__, _numbers(guider)],
        "options": digest(_plain(guider.model_options, _shape)),
        "windows": _numbers(guider.model_options.get("context_handler")),
        "control": sampling.is_controlled,
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
        "adapters": digest(_plain(patcher.patches, _values)),
    }


def _unpatched(patcher: Any) -> Iterator[Tensor]:
    """The weights as they were loaded; adapters that are merged into them left a copy."""
    for name, weight in model_of(patcher).named_parameters():
        copy = patcher.backup.get(f"{DIFFUSION_MODEL}.{name}")
        yield from stored(weight if copy is None else copy.weight)


def _plain(value: Any, of_tensor: Callable[[Tensor], Any]) -> Any:
    """Nested values as plain ones: of an object its class and its ``weights``, of a function its name."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return of_tensor(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part, of_tensor) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, of_tensor) for part in value]
    weights = _plain(getattr(value, "weights", None), of_tensor)
    return [getattr(value, "__qualname__", type(value).__name__), weights]


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _values(tensor: Tensor) -> list[list[Any]]:
    return statistics_of(list(stored(tensor)))


def _numbers(of: Any) -> dict[str, float]:
    """An object's own settings that are numbers."""
    settings = getattr(of, "__dict__", {}).items()
    return {name: value for name, value in settings if isinstance(value, (int, float)) and name[:1] != "_"}
