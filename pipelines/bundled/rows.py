"""A transformer that is stored as int8 rows."""

from itertools import chain
from pathlib import Path
from typing import Any

from skipstone.disk.int8_rows import load_rows

FILE = "diffusion_pytorch_model.int8.safetensors"
"""The file with its weights."""


def give_transformer(pipe: Any, folder: Path) -> None:
    """Give a Wan pipeline a transformer, in the type of its other parts.

    Args:
        pipe: the pipeline.
        folder: of the transformer: its configuration and its weights.
    """
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(folder))
    model.load_state_dict(load_rows(folder / FILE))
    kept = set(model._keep_in_fp32_modules)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        # As diffusers does: these stay in float32.
        if not kept & set(name.split(".")):
            tensor.data = tensor.data.to(pipe.vae.dtype)
    pipe.register_modules(transformer=model.eval())
