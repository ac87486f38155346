"""What every training here shares: a schedule over wall time, an average of the weights, a checkpoint."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

PART_BYTES = 15_500_000


class Clock:
    """Elapsed share of a time budget, from the first reading of `share`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start = time.monotonic()
        self.steps = 0

    @property
    def share(self) -> float:
        return (time.monotonic() - self.start) / self.seconds

    def pace(self) -> float:
        """Milliseconds per step so far."""
        return 1000 * (time.monotonic() - self.start) / max(self.steps, 1)


def learning_rate(peak: float, step: int, share: float, warmup: int, decay_from: float = 0.6) -> float:
    """Linear warm-up over steps, then flat, then linear decay to 2 % over the last part of the time."""
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (1.0 - share) / (1.0 - decay_from))
    return peak * rise * max(fall, 0.02)


class Average:
    """An exponential moving average of the parameters of some modules."""

    def __init__(self, modules: dict[str, nn.Module], decay: float) -> None:
        self.modules, self.decay = modules, decay
        self.live = [parameter for module in modules.values() for parameter in module.parameters()]
        self.kept = [parameter.detach().clone() for parameter in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the live weights, faster in the first steps."""
        torch._foreach_lerp_(self.kept, self.live, 1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live and the averaged weights."""
        for live, kept in zip(self.live, self.kept, strict=True):
            held = live.detach().clone()
            live.copy_(kept)
            kept.copy_(held)


def split_in_parts(tensors: dict[str, torch.Tensor]) -> Iterable[dict[str, torch.Tensor]]:
    """Group tensors so that no group outgrows PART_BYTES."""
    part: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if part and sum(kept.nbytes for kept in part.values()) + tensor.nbytes > PART_BYTES:
            yield part
            part = {}
        part[name] = tensor
    yield part


def save_parts(modules: dict[str, nn.Module], stem: Path) -> None:
    """Write the weights of several modules in bf16 as STEM-0.safetensors, STEM-1.safetensors, ..."""
    tensors = {
        f"{name}/{key}": value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(split_in_parts(tensors)):
        save_file(part, f"{stem}-{index}.safetensors")
