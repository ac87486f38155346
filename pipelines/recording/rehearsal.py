"""A pipeline's call that can be repeated, with the same random numbers or with others."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.cachers.fora import FORA
from skipstone.cachers.planned import Planned
from skipstone.pipelines.attach import Watcher, attach
from skipstone.pipelines.recording.label import labelled
from skipstone.pipelines.recording.randomness import Randomness
from skipstone.schedules.plan import Plan
from skipstone.schedules.search import Judge, Judgement


class Rehearsal:
    """Repeat one call of a pipeline as often as needed, and judge plans by it.

    The random state of the process is left as it was.

    Args:
        pipe: the pipeline.
        args: the call's arguments.
        kwargs: the call's keyword arguments. Outputs are arrays, unless latents are asked for.
        watch: called after each step of each run.
        randomness: the random states at the beginning; None for the present ones.
    """

    def __init__(
        self,
        pipe: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        watch: Watcher | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._pipe = pipe
        self._args = args
        self._given = kwargs
        self._in_latents = kwargs.get("output_type") == "latent"
        self._kwargs = {**kwargs, "output_type": "latent" if self._in_latents else "np"}
        self._watch = watch
        self._randomness = randomness or Randomness.of_now(kwargs.get("generator"))

    def run(self, title: str) -> Tensor:
        """Make the call with a title for its progress bar; return its output, ``(prompts, ...)``."""
        kwargs = dict(self._kwargs)
        if "generator" in kwargs:
            kwargs["generator"] = self._randomness.generator(kwargs["generator"])
        with self._randomness.begun(), labelled(self._pipe, title):
            made = self._pipe(*self._args, **kwargs)[0]
        tensor = made.detach() if isinstance(made, Tensor) else torch.as_tensor(np.asarray(made))
        return tensor.float().cpu()

    def with_other_noise(self) -> "Rehearsal":
        """The same call with other random numbers; given noise is shuffled."""
        other, given = self._randomness.other(self._given.get("generator")), dict(self._given)
        if isinstance(given.get("latents"), Tensor):
            given["latents"] = _shuffled(given["latents"])
        return Rehearsal(self._pipe, self._args, given, self._watch, other)

    @cached_property
    def reference(self) -> Tensor:
        """The uncached run."""
        with attach(self._pipe, FORA(1)) as cache:
            if self._watch is not None:
                cache.watch(self._watch)
            return self.run("other noise")

    def __call__(self, plan: Plan) -> Judgement:
        """Run a plan, and compare with the reference."""
        reference = self.reference
        with attach(self._pipe, Planned(plan)) as cache:
            if self._watch is not None:
                cache.watch(self._watch)
            made = self.run(f"plan of {plan.computed} steps")
        peak = float(reference.max() - reference.min()) if self._in_latents else 1.0
        pairs = zip(made, reference, strict=True)
        psnr, run = tuple(_psnr(one, other, peak) for one, other in pairs), cache.last_run
        return Judgement(psnr, run.skip_cost, run.deviations)

    def joined(self, other: Judge) -> Judge:
        """Judge by both calls."""
        return _Both(self, other)


class _Both:
    """Judge by the prompts of two judges."""

    def __init__(self, first: Judge, second: Judge) -> None:
        self._judges = first, second

    def __call__(self, plan: Plan) -> Judgement:
        first, second = (judge(plan) for judge in self._judges)
        deviations = (*first.deviations, *second.deviations)
        return Judgement((*first.psnr, *second.psnr), first.skip_cost, deviations)

    def joined(self, other: Judge) -> Judge:
        return _Both(self, other)


def _shuffled(noise: Tensor) -> Tensor:
    order = torch.randperm(noise.numel(), generator=torch.Generator().manual_seed(0))
    return noise.flatten()[order.to(noise.device)].view_as(noise)


def _psnr(made: Tensor, wanted: Tensor, peak: float) -> float:
    """Peak signal-to-noise ratio in dB; minus infinity for what is not finite."""
    error = float((made - wanted).double().square().mean())
    if not math.isfinite(error):
        return -math.inf
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)
