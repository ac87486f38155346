"""What every training shares: a rate over wall time, a recorded step, averaged weights, a checkpoint."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from muon import Muon
from safetensors.torch import save_file
from torch import Tensor, nn

PART_BYTES = 15_500_000
WARM_UPS = 3
MUON_RATIO = 12


class Clock:
    """Elapsed share of a time budget, from the first reading of `share`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.start = time.monotonic()
        self.steps = 0

    @property
    def seconds_used(self) -> float:
        return time.monotonic() - self.start

    @property
    def share(self) -> float:
        return self.seconds_used / self.seconds

    def pace(self) -> float:
        """Milliseconds per step so far."""
        return 1000 * self.seconds_used / max(self.steps, 1)


def learning_rate(peak: float, step: int, share: float, warmup: int, decay_from: float) -> float:
    """Linear warm-up over steps, then flat, then linear decay to 2 % over the last part of the time."""
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (1.0 - share) / (1.0 - decay_from))
    return peak * rise * max(fall, 0.02)


class Optimizer:
    """AdamW on clipped gradients whose rate can change under a recorded step; Muon for some weights.

    Args:
        parameters: for AdamW.
        hidden: weights for Muon, whose rate is `MUON_RATIO` times that of AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        betas: tuple[float, float],
        decay: float,
        hidden: Iterable[nn.Parameter] = (),
    ) -> None:
        self.parameters = list(parameters)
        self.muon = Muon(hidden)
        device = self.parameters[0].device
        on_gpu = device.type == "cuda"
        self.rate = torch.tensor(0.0, device=device)
        self.adam = torch.optim.AdamW(
            self.parameters, self.rate, betas, weight_decay=decay, fused=on_gpu, capturable=on_gpu
        )

    def step(self, loss: Tensor) -> Tensor:
        """One update; returns the loss."""
        everything = [*self.parameters, *self.muon.parameters]
        for parameter in everything:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(everything, 1.0)
        self.adam.step()
        self.muon.step(self.rate * MUON_RATIO)
        return loss.detach()


class Recorded:
    """A step recorded on the GPU and replayed, so that its thousand launches cost as much as one.

    Args:
        step: takes the inputs, updates weights in place and returns one tensor.
        inputs: examples of the inputs; later ones have the same shapes.
    """

    def __init__(self, step: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        self._inputs = [given.clone() for given in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                step(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = step(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._result.clone()


def recorded(step: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[..., Tensor]:
    """The step, recorded where there is a GPU."""
    return Recorded(step, inputs) if inputs[0].device.type == "cuda" else step


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
