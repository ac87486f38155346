"""The present state of a model's adapters, cheap enough to read on every evaluation."""

from collections.abc import Callable, Hashable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Any

from torch import Tensor, nn

Read = Callable[[], Hashable]

SWITCHES = ("_disable_adapters", "_active_adapter")
"""The attributes of peft's layers that switch adapters."""


def adapter_signs(model: nn.Module) -> Read:
    """A sign of a model's active adapters and their scales.

    The sign changes if adapters are switched, rescaled, fused, loaded or removed, also in layers that are
    added later. It does not see an adapter's weights: code that overwrites these must report it.

    Args:
        model: the model, as it is written.

    Returns:
        A function that returns the present sign; it stays equal as long as nothing changes. It waits for no
        device. The layers to read are collected once, and again after adapters are loaded or removed.
    """
    return _Places(model).sign


def adapter_layers(model: nn.Module) -> Iterator[Any]:
    """The layers of a model that have adapters."""
    return (part for part in model.modules() if all(name in vars(part) for name in SWITCHES))


def picture_scales(model: nn.Module) -> Iterator[dict[str, Any]]:
    """The objects that keep the ``scale`` of attention to images (IP-Adapter)."""
    for part in model.modules():
        names = getattr(getattr(part, "processor", None), "__dict__", {})
        if "scale" in names:
            yield names


class _Places:
    """The places where a model's adapters keep their switches and scales.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._own = vars(model)
        self._times = 0
        self._find()

    def sign(self) -> Hashable:
        if self._loaded() != self._found:
            self._times += 1
            self._find()
        return self._times, self._read()

    def _find(self) -> None:
        self._found, self._read = self._loaded(), _reader(self._model)
        # As long as these objects live, no others can have their ids.
        self._held = list(self._own.get("peft_config", {}).values())

    def _loaded(self) -> list[Any]:
        """What changes when adapters are loaded or removed: the model's image parts, and peft's settings."""
        return [*self._model._modules.values(), *map(id, self._own.get("peft_config", {}).values())]


def _reader(model: nn.Module) -> Read:
    """A function that reads all the places at once."""
    layers, pictures = list(map(vars, adapter_layers(model))), list(picture_scales(model))
    if not (layers or pictures):
        return lambda: None
    off, active = map(itemgetter, SWITCHES)
    fused = [names["merged_adapters"] for names in layers if "merged_adapters" in names]
    numbers = _numbers([names["scaling"] for names in layers if "scaling" in names])

    def read() -> Hashable:
        names = list(map(active, layers))
        taking_part = tuple(chain.from_iterable(names)), tuple(map(len, names)), tuple(map(off, layers))
        shown = tuple(_plain(names["scale"]) for names in pictures)
        return *taking_part, numbers(), tuple(map(len, fused)), shown

    return read


def _numbers(scales: list[dict[str, Any]]) -> Read:
    """A function that reads the scales of all layers."""
    present = [named.values() for named in scales]

    def read() -> tuple[Any, ...]:
        return tuple(chain.from_iterable(present))

    # Scales are on a device if peft has prepared the model for compilation.
    return (lambda: _plain(read())) if any(isinstance(scale, Tensor) for scale in read()) else read


def _plain(value: Any) -> Hashable:
    """A number or a list by its value; a tensor by its version, as its values may be on a device."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return (id(value), value._version) if isinstance(value, Tensor) else value
