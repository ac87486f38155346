"""The shares of sample and noise in a model's input on each step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

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
        return [_level(scheduler, sigma) for sigma in sigmas[: len(timesteps)]]
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return [(None, None)] * len(timesteps)
    shares = torch.as_tensor(kept).double().tolist()
    return [_of_share(shares[min(int(t), len(shares) - 1)]) for t in timesteps]


def end_time(scheduler: Any, steps: int, sigmas: Sequence[float]) -> float:
    """The flow time that a scheduler's last step leads to: 0 unless its last sigma is another.

    Args:
        scheduler: a diffusers scheduler.
        steps: how many steps it takes.
        sigmas: its sigmas; empty without any.
    """
    return flow_time(_level(scheduler, sigmas[steps])) or 0.0 if len(sigmas) > steps else 0.0


def flow_time(level: Level) -> float | None:
    """``noise / (signal + noise)``; None if they are not known."""
    signal, noise = level
    return None if signal is None or noise is None else noise / (signal + noise)


def prediction(scheduler: Any) -> Prediction:
    """What the model's output is to a scheduler; ``flow`` where it is something that it has no name for."""
    names: Mapping[Any, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
    found = scheduler.config.get("prediction_type", "epsilon")
    return "flow" if _is_flow(scheduler) else names.get(found, "flow")


def latents_unit(scheduler: Any, time: float) -> float:
    """The size of a scheduler's latents where signal plus noise is 1.

    Args:
        scheduler: a diffusers scheduler.
        time: their flow time, ``noise / (signal + noise)``.
    """
    if _is_flow(scheduler):
        return 1.0
    if getattr(scheduler, "sigmas", None) is not None:
        return 1 / (1 - time)
    return 1 / math.hypot(1 - time, time)


def _is_flow(scheduler: Any) -> bool:
    """Whether sigma mixes sample and noise linearly."""
    config = scheduler.config
    of_a_flow = any("FlowMatch" in kind.__name__ for kind in type(scheduler).__mro__)
    return of_a_flow or any(
        (config.get("use_flow_sigmas"), config.get("prediction_type") == "flow_prediction")
    )


def _level(scheduler: Any, sigma: float) -> Level:
    return _of_flow(sigma) if _is_flow(scheduler) else _of_scaled(sigma)


def _of_flow(sigma: float) -> Level:
    return 1 - sigma, sigma


def _of_scaled(sigma: float) -> Level:
    """``sample + sigma * noise``, scaled to unit variance before the model sees it."""
    return (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5


def _of_share(share: float) -> Level:
    """The sample's share of the variance."""
    return share**0.5, (1 - share) ** 0.5
