"""Whether the weights of a loaded pipeline are those that its configuration asks for."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

WEIGHTS = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
"""The usual files of a model; those of variants lie beside them."""


FEW = 16
"""How many numbers of each weight are compared."""


def check_complete(pipe: Any, folder: Path) -> None:
    """Refuse a pipeline whose models have more numbers than their files, fewer, or others.

    Libraries fill in what is missing with random numbers and drop what is left over, as after a change of the
    number of layers in a configuration, or where a library of another version gives weights other names:
    pictures would be wrong in silence. Counted are numbers, since older files have other names; where a
    weight's name is a part of one in the file, or the other way round, their first numbers are compared.

    Raises:
        ValueError: a model whose file and configuration do not go together.
    """
    for name, model in pipe.components.items():
        stored = sum(_sizes(folder / name))
        if not stored or not isinstance(model, nn.Module) or getattr(model, "hf_quantizer", None):
            continue
        needed = sum(parameter.numel() for parameter in model.parameters())
        if stored < needed or (_is_of_diffusers(model) and stored > _most(model)):
            raise ValueError(
                f"the weights of {name} are {stored:,} numbers, its config.json asks for {needed:,}: they do "
                "not belong together, take both from one place"
            )
        unread = next(_unread(model, folder / name), None)
        if unread is not None:
            raise ValueError(
                f"{unread} of {name} is not what its file holds: another version of "
                f"{type(model).__module__.partition('.')[0]} wrote it, with other names; update that"
            )


def _sizes(folder: Path) -> Iterator[int]:
    """How many numbers each stored tensor has."""
    from safetensors import safe_open

    for path in folder.glob("*.safetensors"):
        if WEIGHTS.fullmatch(path.name):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    size = 1
                    for side in file.get_slice(name).get_shape():
                        size *= side
                    yield size


def _unread(model: nn.Module, folder: Path) -> Iterator[str]:
    """The names of parameters that have other numbers than the file."""
    from safetensors import safe_open

    parameters = dict(model.named_parameters())
    for path in folder.glob("*.safetensors"):
        if not WEIGHTS.fullmatch(path.name):
            continue
        with safe_open(path, framework="pt") as file:
            for stored in file.keys():  # noqa: SIM118
                name = _name_of(stored, parameters)
                if name is not None and not _begins_with(parameters[name], file.get_slice(stored)):
                    yield name


def _name_of(stored: str, parameters: Mapping[str, nn.Parameter]) -> str | None:
    """The parameter with a stored name; else the only one of which that is the end, or that is its end."""
    if stored in parameters:
        return stored
    found = [name for name in parameters if _ends(name, stored) or _ends(stored, name)]
    return found[0] if len(found) == 1 else None


def _ends(name: str, end: str) -> bool:
    return name.endswith(f".{end}")


def _begins_with(parameter: nn.Parameter, stored: Any) -> bool:
    """Whether a parameter begins with the stored numbers, as far as its type can hold them."""
    is_other = list(parameter.shape) != stored.get_shape() or not parameter.is_floating_point()
    if parameter.is_meta or is_other or not parameter.shape:
        return True
    read = parameter[:1].detach().flatten()[:FEW].cpu()
    begin = stored[:1].flatten()[:FEW].to(parameter.dtype)
    return torch.allclose(read.float(), begin.float(), rtol=0.01, atol=1e-6)


def _is_of_diffusers(model: nn.Module) -> bool:
    """Text encoders are often stored with a decoder that nothing uses."""
    from diffusers import ModelMixin

    return isinstance(model, ModelMixin)


def _most(model: nn.Module) -> int:
    """The numbers of a model with those that are not trained, such as running means."""
    return sum(tensor.numel() for tensor in model.state_dict().values())
