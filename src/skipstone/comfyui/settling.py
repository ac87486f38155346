"""Settle gaps in a sampler's run, by what the sampler is told that the model predicts."""

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Solved, Step
from skipstone.comfyui.contract import Sampling
from skipstone.comfyui.noise_levels import CLOSE, prediction_of, raw_output, signal_and_noise
from skipstone.pipelines.run.settling import made_by
from skipstone.pipelines.run.stats import RunLog

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

    def __init__(self, sampling: Sampling, steps: tuple[Step, ...]) -> None:
        self._sigmas = sampling.sigmas
        self._levels = sampling.patcher.get_model_object("model_sampling")
        self._prediction = prediction_of(steps, self._levels)
        # Other samplers use a prediction again, or call the model at other levels.
        self._is_euler = sampling.sampler_name == EULER and not sampling.sampler_options.get("s_churn")

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
        share = 1 - self._sigmas[step.index + 1] / level
        made = made_by(log, step.index)
        is_own = abs(level - step.timestep) <= CLOSE * level
        if not (method.settles and self._is_euler and is_own and share > 0 and made is not None):
            return denoised
        output = raw_output(self._levels, level, latents, denoised)
        unit = sum(signal_and_noise(self._levels, self._sigmas[step.index + 1]))
        move = torch.zeros_like(denoised)
        method.settle(Solved(step, made.reason, output, move, unit, self._prediction))
        return denoised + move / share
