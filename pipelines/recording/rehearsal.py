"""A pipeline's call that can be repeated, with the same random numbers or with others."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.fora import FORA
from skipstone.cachers.planned import Planned
from skipstone.pipelines.attach import Watcher, attach
from skipstone.pipelines.model.models import models_of
from skipstone.pipelines.recording.label import labelled
from skipstone.pipelines.recording.measurements import kept
from skipstone.pipelines.recording.randomness import Randomness
from skipstone.pipelines.recording.trial import CallTrial
from skipstone.pipelines.run.ranks import from_first, group_of
from skipstone.pipelines.run.stats import RunStats
from skipstone.schedules.calibration import Trial
from skipstone.schedules.plan import Plan
from skipstone.schedules.search import Judge, Judgement

FIRST_SEED = 2**40
"""The noise of calibrations begins with this seed, which nobody records with by chance."""

Lines = Callable[[str], Watcher]
"""Begins to show a run with a title; what it returns is called after each step."""

BY_PROMPT = ("prompt", "negative_prompt", "generator", "latents")
"""What the names of arguments begin with of which a call with several prompts may have one for each."""


class Rehearsal:
    """Repeat one call of a pipeline as often as needed, and judge plans by it.

    The random state of the process is left as it was.

    Args:
        pipe: the pipeline.
        args: the call's arguments.
        kwargs: the call's keyword arguments. Outputs are arrays, unless latents are asked for.
        lines: shows each run.
        randomness: the random states at the beginning; None for the present ones.
        size: how many samples it makes, once a run has shown it.
    """

    def __init__(
        self,
        pipe: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        lines: Lines | None = None,
        randomness: Randomness | None = None,
        size: int = 1,
    ) -> None:
        self._pipe = pipe
        self._args = args
        self._given = kwargs
        self._in_latents = kwargs.get("output_type") == "latent"
        self._kwargs = {**kwargs, "output_type": "latent" if self._in_latents else "np"}
        self._lines = lines
        self._randomness = randomness or Randomness.of_now(kwargs.get("generator"))
        self.size = size

    def run(self, title: str) -> Tensor:
        """Make the call with a title for its progress bar; return its output, ``(samples, ...)``."""
        kwargs = dict(self._kwargs)
        if "generator" in kwargs:
            kwargs["generator"] = self._randomness.generator(kwargs["generator"])
        with self._randomness.begun(), labelled(self._pipe, title):
            made = self._pipe(*self._args, **kwargs)[0]
        tensor = made.detach() if isinstance(made, Tensor) else torch.as_tensor(np.asarray(made))
        self.size = len(tensor)
        return tensor.float().cpu()

    def under(self, method: Cacher[Any], title: str) -> tuple[Tensor, RunStats]:
        """`run` with a method, and the statistics."""
        with attach(self._pipe, method) as cache:
            if self._lines is not None:
                cache.watch(self._lines(title))
            made = self.run(title)
            return made, cache.last_run

    def with_other_noise(self) -> "Rehearsal":
        """The same call with other random numbers; given noise is shuffled."""
        return self._drawing(self._randomness.other(self._given.get("generator")), 0)

    def seeded(self, seed: int) -> "Rehearsal":
        """The same call with the random numbers of a seed; given noise is shuffled by it."""
        return self._drawing(self._randomness.seeded(self._given.get("generator"), seed), seed)

    def _drawing(self, randomness: Randomness, seed: int) -> "Rehearsal":
        given = dict(self._given)
        if isinstance(given.get("latents"), Tensor):
            given["latents"] = _shuffled(given["latents"], seed)
        return Rehearsal(self._pipe, self._args, given, self._lines, randomness, self.size)

    def of_prompt(self, prompt: str) -> "Rehearsal":
        """The same call with another prompt alone; of what was given for each it has the first.

        Raises:
            ValueError: the call has no prompt that is a text.
        """
        args, given = list(self._args), dict(self._given)
        before = given.get("prompt", args[0] if args else None)
        if isinstance(before, (list, tuple)):
            given = {name: _first(name, value, len(before)) for name, value in given.items()}
        elif not isinstance(before, str):
            raise ValueError("prompts take the place of the recorded call's prompt: record with a text")
        after = prompt if isinstance(before, str) else [prompt]
        if "prompt" in given:
            given["prompt"] = after
        else:
            args[0] = after
        return Rehearsal(self._pipe, args, given, self._lines, self._randomness)

    @cached_property
    def reference(self) -> Tensor:
        """The uncached run."""
        return self.under(FORA(1), "other noise")[0]

    def __call__(self, plan: Plan) -> Judgement:
        """Run a plan, and compare with the reference; processes that share a model hear their first one."""
        judgement = self._judge(plan)
        return from_first(group_of(models_of(self._pipe).values()), lambda: judgement)

    def _judge(self, plan: Plan) -> Judgement:
        reference = self.reference
        made, run = self.under(Planned(plan), f"plan of {plan.computed} steps")
        peak = float(reference.max() - reference.min()) if self._in_latents else 1.0
        psnr = tuple(_psnr(one, other, peak) for one, other in zip(made, reference, strict=True))
        return Judgement(psnr, run.skip_cost, run.deviations)

    def joined(self, other: Judge) -> Judge:
        """Judge by both calls."""
        return _Both(self, other)

    def trials(self, prompts: Sequence[str] | None) -> Sequence[Trial]:
        """The calls of a calibration.

        Raises:
            ValueError: the call asks for latents, or has no prompt that others can take the place of; or the
                model is shared with other processes.
        """
        if group_of(models_of(self._pipe).values()) is not None:
            raise ValueError(
                "a quality is promised by what one process measures, and several share this model: make the "
                "plan in one process that has all of it, save it, and load it in each of them"
            )
        if self._in_latents:
            raise ValueError(
                "a quality is measured on pictures, and this call makes latents: record without output_type"
            )
        call = {name: value for name, value in self._given.items() if name != "generator"}
        measured = kept([self._args, call])
        if prompts is None:
            return [CallTrial(self.seeded(FIRST_SEED), self.size, "recorded", measured)]
        return [
            CallTrial(self.of_prompt(prompt).seeded(FIRST_SEED + n), 1, f"{n} {prompt}", measured)
            for n, prompt in enumerate(prompts)
        ]


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

    def trials(self, prompts: Sequence[str] | None) -> Sequence[Trial]:
        """Of both where the recorded prompts are asked for; other prompts take the place of the first one."""
        first, second = self._judges
        return first.trials(prompts) if prompts else (*first.trials(None), *second.trials(None))


def _first(name: str, value: Any, count: int) -> Any:
    """Of what there is one of for each prompt the first, as a list of one; anything else as it is."""
    many = name.startswith(BY_PROMPT) and isinstance(value, (list, tuple, Tensor)) and len(value) == count
    return value[:1] if many else value


def _shuffled(noise: Tensor, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    order = torch.randperm(noise.numel(), generator=source, device="cpu")
    return noise.flatten()[order.to(noise.device)].view_as(noise)


def _psnr(made: Tensor, wanted: Tensor, peak: float) -> float:
    """Peak signal-to-noise ratio in dB; minus infinity for what is not finite."""
    error = float((made - wanted).double().square().mean())
    if not math.isfinite(error):
        return -math.inf
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)
