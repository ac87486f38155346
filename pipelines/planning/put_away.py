"""A model's weights, also those that offloading has put away."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn


def weights_of(model: nn.Module) -> Iterator[Tensor]:
    """Each parameter and saved buffer; what was kept of it where offloading may leave nothing in its place.

    Args:
        model: the model, as it is written.
    """
    in_groups = dict(kept for group in _groups(model) for kept in _kept(group))
    for module in model.modules():
        saved = {n: b for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set}
        for name, value in chain(module._parameters.items(), saved.items()):
            if value is not None:
                yield in_groups[id(value)] if id(value) in in_groups else _loaded(module, name, value)


def _groups(model: nn.Module) -> list[Any]:
    """The groups that diffusers offloads together; their blocks share one."""
    registries = (vars(module).get("_diffusers_hook") for module in model.modules())
    hooks = (registry.get_hook("group_offloading") for registry in registries if registry is not None)
    return list(dict.fromkeys(hook.group for hook in hooks if hook is not None))


def _kept(group: Any) -> Iterator[tuple[int, Tensor]]:
    """What a group keeps in a file, or for a stream of copies, by the id of the tensor that it is of.

    A skipped step leaves the first group on the device, where it may still be on its way.
    """
    if getattr(group, "offload_to_disk_path", None) is None:
        yield from ((id(tensor), kept) for tensor, kept in group.cpu_param_dict.items())
        return
    in_file = load_file(group.safetensors_file_path)
    yield from ((id(tensor), in_file[key]) for tensor, key in group.tensor_to_key.items())


def _loaded(module: nn.Module, name: str, value: Tensor) -> Tensor:
    """The weights that accelerate's sequential offload has moved away, if it has.

    It computes with the parameters that it keeps, whatever was put in their place.
    """
    hook = getattr(module, "_hf_hook", None)
    # A model with weights of its own has two hooks in one.
    maps: Iterator[Mapping[str, Tensor] | None]
    maps = (getattr(one, "weights_map", None) for one in getattr(hook, "hooks", [hook]))
    kept = next((one for one in maps if one is not None), None)
    moved = name in module._parameters or value.device.type == "meta"
    return kept[name] if moved and kept is not None else value
