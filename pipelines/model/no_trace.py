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
    with _torch_as_before(device):
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


@contextmanager
def _torch_as_before(device: torch.device) -> Iterator[None]:
    """Leave torch's sources on the CPU and on a device as they were before."""
    if device.type != "mps":
        devices = [] if device.type == "cpu" else [device]
        kind = device.type if devices else "cuda"
        with torch.random.fork_rng(devices, device_type=kind):
            yield
        return
    # Of this kind there is one device, whose functions take none.
    state = torch.mps.get_rng_state()
    with torch.random.fork_rng([]):
        try:
            yield
        finally:
            torch.mps.set_rng_state(state)
