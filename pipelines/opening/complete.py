"""Whether the weights of a loaded pipeline are those that its configuration asks for."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

WEIGHTS = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
"""The usual files of a model; those of variants lie beside them."""


def check_complete(pipe: Any, folder: Path) -> None:
    """Refuse a pipeline whose models have more numbers than their files, or fewer.

    Libraries fill in what is missing with random numbers and drop what is left over, as after a change of the
    number of layers in a configuration: pictures would be wrong in silence. Counted are numbers, not names,
    since older files have other names.

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


def _is_of_diffusers(model: nn.Module) -> bool:
    """Text encoders are often stored with a decoder that nothing uses."""
    from diffusers import ModelMixin

    return isinstance(model, ModelMixin)


def _most(model: nn.Module) -> int:
    """The numbers of a model with those that are not trained, such as running means."""
    return sum(tensor.numel() for tensor in model.state_dict().values())
