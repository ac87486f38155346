"""The steps of a sampler's run, read off the model's own formulas."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.words import RunFacts, Step
from skipstone.schedules.importance import LEAST_UNIT, Prediction

OF_OUTPUT: dict[Prediction, Callable[[float], float]] = {
    "flow": lambda time: time,
    "v": lambda time: time / math.hypot(1 - time, time),
    "epsilon": lambda time: time / max(1 - time, LEAST_UNIT),
    "sample": lambda time: 1.0,
}
"""How much of each kind of output goes into the clean sample at a flow time."""

CLOSE = 1e-5
"""How far rounding may take a noise level from that of its step, as a share."""

ABOVE = 0.06
"""How far above its step's level a sampler may call that adds noise first (``s_churn``), as a share."""

OF_GAP = 0.25
"""How far at most as a share of the way to the step before: samplers of higher order call in between."""


def steps_of(sigmas: Sequence[float], sampling: Any) -> tuple[Step, ...]:
    """One step for each noise level but the last.

    Args:
        sigmas: the noise levels, falling.
        sampling: the model's ``model_sampling``.
    """
    count = len(sigmas) - 1
    levels = (signal_and_noise(sampling, sigma) for sigma in sigmas[:-1])
    return tuple(Step(n, count, sigmas[n], sigmas[n], *level) for n, level in enumerate(levels))


def step_at(steps: Sequence[Step], sigma: float) -> Step:
    """The step that a noise level belongs to: the last one that begins at it or above, or just below.

    Samplers of higher order call the model several times a step, at the step's own level, between it and the
    next one, or at the next one's. Samplers that add noise before a step call it above the step's level.
    """
    inside = [step for step in steps if step.timestep >= sigma * (1 - CLOSE)]
    if not inside or inside[-1] is steps[-1]:
        return inside[-1] if inside else steps[0]
    before, after = inside[-1], steps[inside[-1].index + 1]
    above = sigma - after.timestep
    gap = before.timestep - after.timestep
    return after if above <= min(ABOVE * after.timestep, OF_GAP * gap) else before


def prediction_of(steps: Sequence[Step], sampling: Any) -> Prediction:
    """What the model's output is, by how much of it goes into the clean sample on each step."""
    clean = [abs(of_clean(sampling, step.timestep)[1]) for step in steps]
    times = RunFacts(tuple(steps)).levels

    def differs(name: Prediction) -> float:
        pairs = zip(times, clean, strict=True)
        return sum(abs(OF_OUTPUT[name](time) - share) / share for time, share in pairs if share)

    return min(OF_OUTPUT, key=differs)


def raw_output(sampling: Any, sigma: float, latents: Tensor, denoised: Tensor) -> Tensor:
    """The output of the model that would have led from some latents to a clean sample."""
    kept, added = of_clean(sampling, sigma)
    return (denoised - kept * latents) / added


def signal_and_noise(sampling: Any, sigma: float) -> tuple[float, float]:
    """The shares of the clean sample and of the noise in the latents at a noise level."""
    return (
        _linear(sampling.noise_scaling, sigma, 0.0, 1.0),
        _linear(sampling.noise_scaling, sigma, 1.0, 0.0),
    )


def of_clean(sampling: Any, sigma: float) -> tuple[float, float]:
    """The shares of the latents and of the model's output in the clean sample at a noise level."""
    return (
        _linear(sampling.calculate_denoised, sigma, 0.0, 1.0),
        _linear(sampling.calculate_denoised, sigma, 1.0, 0.0),
    )


def _linear(formula: Any, sigma: float, first: float, second: float) -> float:
    """What a formula that is linear in two tensors gives for two numbers."""
    level, one, other = torch.tensor([sigma]), torch.tensor([[first]]), torch.tensor([[second]])
    return float(formula(level, one, other))
