"""The shares of sample and noise in a model's input on each step, and how outputs answer to changes of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from skipstone.pipelines.run.samplers import steps_as
from skipstone.schedules.importance import Prediction

Level = tuple[float | None, float | None]
"""Signal and noise: the input is ``signal * sample + noise * noise``; None if unknown."""


def levels(scheduler: Any, timesteps: Sequence[float], sigmas: Sequence[float]) -> list[Level]:
    """The level of each step, from a scheduler's settings for the run.

    Args:
        scheduler: a diffusers scheduler.
        timesteps: its timesteps.
        sigmas: its sigmas; empty without any.
    """
    if len(sigmas) >= len(timesteps):
        level = _of_flow if _is_flow(scheduler) else _of_scaled
        return [level(sigma) for sigma in sigmas[: len(timesteps)]]
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return [(None, None)] * len(timesteps)
    shares = torch.as_tensor(kept).double().tolist()
    return [_of_share(shares[min(int(t), len(shares) - 1)]) for t in timesteps]


def prediction(scheduler: Any) -> Prediction:
    """What the model's output is to a scheduler; ``flow`` where it is something that it has no name for."""
    names: Mapping[Any, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
    found = scheduler.config.get("prediction_type", "epsilon")
    return "flow" if _matches_flow(scheduler) else names.get(found, "flow")


def in_latents(scheduler: Any, level: Level) -> Level:
    """The same shares in a scheduler's latents, which of Euler's are larger than the model's input."""
    signal, noise = level
    if not signal or noise is None or steps_as(scheduler) != "EulerDiscreteScheduler":
        return level
    return 1.0, noise / signal


def response(output: Prediction, signal: float | None, noise: float | None) -> float:
    """By how much an output changes with its latents, if samples were Gaussian, of unit variance.

    A velocity is taken not to: that of ``v`` does not, and steps move a flow's latents too little to tell.

    Args:
        output: what it is.
        signal: the share of the sample in the latents; None if it is not known.
        noise: the same of the noise.
    """
    if signal is None or noise is None:
        return 0.0
    return {"epsilon": noise, "sample": signal}.get(output, 0.0) / (signal**2 + noise**2)


def _is_flow(scheduler: Any) -> bool:
    """Whether sigma mixes sample and noise linearly."""
    config = scheduler.config
    return any((
        _matches_flow(scheduler),
        config.get("use_flow_sigmas"),
        config.get("prediction_type") == "flow_prediction",
    ))  # fmt: skip


def _matches_flow(scheduler: Any) -> bool:
    """Whether it knows velocities alone, and so has no name for them."""
    return any("FlowMatch" in kind.__name__ for kind in type(scheduler).__mro__)


def _of_flow(sigma: float) -> Level:
    return 1 - sigma, sigma


def _of_scaled(sigma: float) -> Level:
    """``sample + sigma * noise``, scaled to unit variance before the model sees it."""
    return (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5


def _of_share(share: float) -> Level:
    """The sample's share of the variance."""
    return share**0.5, (1 - share) ** 0.5
