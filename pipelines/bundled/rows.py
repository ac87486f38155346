"""A transformer that is stored as int8 rows."""

from itertools import chain
from pathlib import Path
from typing import Any

from skipstone.disk.int8_rows import load_rows

PREFIX = "transformer/"
"""What the names of weights begin with in the file."""


def give_transformer(pipe: Any, like: Path, rows: Path) -> None:
    """Give a Wan pipeline a transformer, in the type of its other parts.

    Args:
        pipe: the pipeline.
        like: the folder of a pipeline whose transformer has the same configuration.
        rows: the file with its weights.
    """
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(like / "transformer"))
    model.load_state_dict({name.removeprefix(PREFIX): weight for name, weight in load_rows(rows).items()})
    kept = set(model._keep_in_fp32_modules)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        # As diffusers does: these stay in float32.
        if not kept & set(name.split(".")):
            tensor.data = tensor.data.to(pipe.vae.dtype)
    pipe.register_modules(transformer=model.eval())
