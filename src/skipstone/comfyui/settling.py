"""Settle gaps in a sampler's run, by what the sampler is told that the model predicts."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Held, Solved, Step
from skipstone.comfyui.contract import Sampling
from skipstone.comfyui.noise_levels import CLOSE, of_clean, prediction_of, raw_output, signal_and_noise
from skipstone.pipelines.run.noise import response
from skipstone.pipelines.run.settling import made_by
from skipstone.pipelines.run.stats import RunLog
from skipstone.schedules.importance import Prediction
from skipstone.schedules.moments import Floats

EULER = "sample_euler"
"""The sampler whose steps are of first order, and use each prediction once."""


class SamplerSettling:
    """Let the method of a run correct the latents after a sampler's steps.

    A sampler keeps its latents to itself. Euler's step from one noise level to the next takes the share
    ``1 - next / level`` of the way to the predicted clean sample. So a prediction that is moved further, by
    that share, ends where the latents should be.

    Args:
        sampling: what is sampled.
        steps: its steps.
    """

    def __init__(self, sampling: Sampling, steps: Sequence[Step]) -> None:
        self._sigmas = sampling.sigmas
        self._levels = sampling.patcher.get_model_object("model_sampling")
        self._effects: Sequence[tuple[Floats, Floats]] = ()
        if _is_euler(sampling):
            output = prediction_of(steps, self._levels)
            self._effects = list(effects(self._sigmas, self._levels, output))

    def settled(
        self, method: Cacher[None], log: RunLog, step: Step, level: float, latents: Tensor, denoised: Tensor
    ) -> Tensor:
        """A prediction after which the latents are settled.

        Args:
            method: that of the run.
            log: of the run, with the calls of this prediction.
            step: the prediction's step.
            level: its noise level.
            latents: what was predicted from.
            denoised: the predicted clean sample.
        """
        entry = made_by(log, step.index) if method.settles and self._effects else None
        if entry is None or abs(level - step.timestep) > CLOSE * level:
            return denoised
        output = raw_output(self._levels, level, latents, denoised)
        move = torch.zeros_like(denoised)
        echo, in_latents = self._effects[step.index]
        method.settle(Solved(step, entry.reason, output, [Held(move, in_latents)], echo))
        return denoised + move / (1 - self._sigmas[step.index + 1] / step.timestep)


def _is_euler(sampling: Sampling) -> bool:
    """Whether its steps are Euler's, and each takes a part of the way to the clean sample.

    Other samplers use a prediction again, or call the model at other levels.
    """
    is_plain = sampling.sampler_name == EULER and not sampling.sampler_options.get("s_churn")
    return is_plain and all(after < sigma for sigma, after in pairwise(sampling.sigmas))


def effects(sigmas: Sequence[float], sampling: Any, output: Prediction) -> Iterator[tuple[Floats, Floats]]:
    """How much of each output is in that of each of Euler's steps, and in the latents after it.

    Args:
        sigmas: the noise levels, one more than steps.
        sampling: the model's ``model_sampling``.
        output: what the model's output is.
    """
    found = np.zeros(len(sigmas) - 1)
    for at, (sigma, after) in enumerate(pairwise(sigmas)):
        share, (kept, added) = 1 - after / sigma, of_clean(sampling, sigma)
        echo = response(output, *signal_and_noise(sampling, sigma)) * found
        found = found * (1 - share * (1 - kept))
        found[at] = share * added
        yield echo, found + share * added * echo
