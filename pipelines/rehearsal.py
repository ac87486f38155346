"""A pipeline's call that can be made again, with the same random numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.cachers.planned import Planned
from skipstone.pipelines.attach import Watcher, attach
from skipstone.schedules.plan import Plan
from skipstone.schedules.search import Judge, Judgement


class Rehearsal:
    """Makes one call of a pipeline as often as needed, and judges plans by it.

    The random state of the process is left as it was.

    Args:
        pipe: the pipeline.
        args: the call's arguments.
        kwargs: likewise. Images are asked for as arrays, unless latents are asked for.
        watch: called after each step of each run.
    """

    def __init__(
        self, pipe: Any, args: Sequence[Any], kwargs: Mapping[str, Any], watch: Watcher | None = None
    ) -> None:
        self._pipe = pipe
        self._args = args
        self._in_latents = kwargs.get("output_type") == "latent"
        self._kwargs = {**kwargs, "output_type": "latent" if self._in_latents else "np"}
        self._watch = watch
        self._generators = {id(g): g.get_state() for g in _generators(kwargs.get("generator"))}
        self._cpu_state = torch.get_rng_state()
        self._devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        self._cuda_states = [torch.cuda.get_rng_state(device) for device in self._devices]
        self.reference: Tensor | None = None

    def run(self) -> Tensor:
        """Make the call; what it gives, ``(prompts, ...)``."""
        kwargs = dict(self._kwargs)
        if "generator" in kwargs:
            kwargs["generator"] = self._renewed(kwargs["generator"])
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu_state)
            for device, state in zip(self._devices, self._cuda_states, strict=True):
                torch.cuda.set_rng_state(state, device)
            made = self._pipe(*self._args, **kwargs)[0]
        return torch.as_tensor(np.asarray(made) if not isinstance(made, Tensor) else made).float().cpu()

    def __call__(self, plan: Plan) -> Judgement:
        """Run a plan, and compare with the reference."""
        assert self.reference is not None
        with attach(self._pipe, Planned(plan, guard=None)) as cache:
            if self._watch is not None:
                cache.watch(self._watch)
            made = self.run()
        peak = float(self.reference.max() - self.reference.min()) if self._in_latents else 1.0
        pairs = zip(made, self.reference, strict=True)
        return Judgement(tuple(_psnr(one, other, peak) for one, other in pairs), cache.last_run.skip_cost)

    def joined(self, other: Judge) -> Judge:
        """Judge by both calls."""
        return _Both(self, other)

    def _renewed(self, given: Any) -> Any:
        """The same generators in the state in which they were given."""
        if isinstance(given, (list, tuple)):
            return [self._renewed(one) for one in given]
        if not isinstance(given, torch.Generator):
            return given
        return torch.Generator(given.device).set_state(self._generators[id(given)])


class _Both:
    """Judges by two judges' prompts."""

    def __init__(self, first: Judge, second: Judge) -> None:
        self._judges = first, second

    def __call__(self, plan: Plan) -> Judgement:
        first, second = (judge(plan) for judge in self._judges)
        return Judgement((*first.psnr, *second.psnr), first.skip_cost)

    def joined(self, other: Judge) -> Judge:
        return _Both(self, other)


def _generators(given: Any) -> list[torch.Generator]:
    return [one for one in (given if isinstance(given, (list, tuple)) else [given]) if one is not None]


def _psnr(made: Tensor, wanted: Tensor, peak: float) -> float:
    """Peak signal-to-noise ratio in dB; minus infinity for what is not finite."""
    error = float((made - wanted).double().square().mean())
    if not math.isfinite(error):
        return -math.inf
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)
