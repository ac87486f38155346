"""Calling a model once more without leaving a trace of it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def no_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave the sources of random numbers, and the model's buffers, as they were before.

    A model may draw numbers as it runs, as for dropout, or count its calls.

    Args:
        model: the model that is called inside.
        device: where it draws numbers, besides the CPU.
    """
    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=_kind(device)):
        buffers = [(part._buffers, dict(part._buffers)) for part in model.modules() if part._buffers]
        contents = [(b, b.clone()) for _, named in buffers for b in named.values() if b is not None]
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)
            with torch.no_grad():
                for buffer, content in contents:
                    buffer.copy_(content)
            for present, named in buffers:
                present.update(named)


def _kind(device: torch.device) -> str:
    """The kind of device whose random numbers are kept besides the CPU's."""
    return "cuda" if device.type == "cpu" else device.type
