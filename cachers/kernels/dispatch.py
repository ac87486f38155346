"""Decide whether an operation runs as a kernel or in plain torch."""

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

DTYPES = {torch.float32, torch.bfloat16, torch.float16}
"""The types that kernels accept. They add in float32, so float64 would lose precision."""

broken: set[str] = set()
"""The operations whose kernels have failed on this machine."""


def suits(tensors: Sequence[Tensor]) -> bool:
    """Whether kernels may be used: on a CUDA device, for inference, and not inside `torch.compile`.

    The compiler fuses the plain operations itself.
    """
    if torch.compiler.is_dynamo_compiling():
        return False
    device = tensors[0].device
    return device.type == "cuda" and all(_suits(tensor, device) for tensor in tensors)


def _suits(tensor: Tensor, device: torch.device) -> bool:
    is_plain = type(tensor) is Tensor and tensor.dtype in DTYPES and tensor.device == device
    return is_plain and not (tensor.requires_grad and torch.is_grad_enabled())


def attempt(name: str, like: Tensor, *arguments: Any) -> bool:
    """Run a kernel; False if it does not work on this machine, and then nothing was written.

    Args:
        name: the name of the operation, and of its module and function.
        like: a tensor on the device.
        arguments: the arguments of that function.
    """
    if name in broken:
        return False
    try:
        with torch.cuda.device_of(like):  # type: ignore[no-untyped-call]
            getattr(import_module(f"skipstone.cachers.kernels.{name}"), name)(*arguments)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as problem:  # What goes wrong in a compiler has any type.
        broken.add(name)
        logger.warning("%s runs in plain torch, its Triton kernel does not work here: %s", name, problem)
        return False
    return True
