"""Samplers of a few kinds, as `denoise(x, sigma)` and a list of noise levels that ends at zero."""

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
Tell = Callable[[int], None]


def sample_euler(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """One call a step."""
    for step in range(len(sigmas) - 1):
        slope = _slope(denoise, x, sigmas[step])
        tell(step)
        x = x + slope * (sigmas[step + 1] - sigmas[step])
    return x


def sample_heun(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """A second call at the next step's level, but for the last one."""
    for step in range(len(sigmas) - 1):
        length = sigmas[step + 1] - sigmas[step]
        slope = _slope(denoise, x, sigmas[step])
        tell(step)
        if sigmas[step + 1] == 0:
            x = x + slope * length
        else:
            x = x + (slope + _slope(denoise, x + slope * length, sigmas[step + 1])) / 2 * length
    return x


def sample_ahead(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """Up to three calls a step: at its level and at the next two."""
    for step in range(len(sigmas) - 1):
        length, before = sigmas[step + 1] - sigmas[step], x
        slopes = [_slope(denoise, x, sigmas[step])]
        tell(step)
        for ahead in sigmas[step + 1 : step + 3]:
            if ahead > 0:
                slopes.append(_slope(denoise, before + slopes[-1] * (ahead - sigmas[step]), ahead))
        x = x + length * (slopes[0] if len(slopes) == 1 else (slopes[0] + slopes[1]) / 2)
    return x


def sample_midpoint(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """A second call at a level between this step's and the next one's."""
    for step in range(len(sigmas) - 1):
        length = sigmas[step + 1] - sigmas[step]
        slope = _slope(denoise, x, sigmas[step])
        tell(step)
        if sigmas[step + 1] > 0:
            slope = _slope(denoise, x + slope * length / 2, (sigmas[step] + sigmas[step + 1]) / 2)
        x = x + slope * length
    return x


def sample_two_step(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """One call a step, with the slope of the step before (Adams-Bashforth in sigma)."""
    before, length_before = None, torch.ones(())
    for step in range(len(sigmas) - 1):
        length = sigmas[step + 1] - sigmas[step]
        slope = _slope(denoise, x, sigmas[step])
        tell(step)
        share = 0.0 if before is None else length / (2 * length_before)
        x = x + length * (slope + share * (slope - (slope if before is None else before)))
        before, length_before = slope, length
    return x


def sample_euler_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell, eta: float = 1.0
) -> Tensor:
    """One call a step, with new noise; an eta of 0 leaves it out."""
    for step in range(len(sigmas) - 1):
        down = sigmas[step + 1] * (1 - 0.2 * eta)
        x = x + _slope(denoise, x, sigmas[step]) * (down - sigmas[step])
        tell(step)
        x = x + torch.randn(x.shape) * (sigmas[step + 1] ** 2 - down**2).sqrt()
    return x


def sample_adaptive(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """Levels of its own."""
    return sample_euler(denoise, x, torch.linspace(float(sigmas[0]), 0, 2 * len(sigmas)), tell)


def dpm_fast_function(denoise: Denoise, x: Tensor, sigmas: Tensor, tell: Tell) -> Tensor:
    """As many calls as steps, at levels of its own that fall by one factor; some levels have no call."""
    return sample_euler(denoise, x, torch.logspace(0, -2, len(sigmas)) * sigmas[0], tell)


def _slope(denoise: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
    return (x - denoise(x, sigma * x.new_ones(len(x)))) / sigma
