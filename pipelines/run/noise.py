"""How much sample and how much noise a model's input holds at each step."""

from collections.abc import Sequence
from typing import Any

import torch

Level = tuple[float | None, float | None]
"""Signal and noise: the input is ``signal * sample + noise * noise``. None where it is not known."""


def levels(scheduler: Any, timesteps: Sequence[float], sigmas: Sequence[float]) -> list[Level]:
    """The level of each step, from what a scheduler has set for the run.

    Args:
        scheduler: a diffusers scheduler.
        timesteps: its timesteps.
        sigmas: its sigmas, empty where it has none.
    """
    if len(sigmas) >= len(timesteps):
        level = _of_flow if _is_flow(scheduler) else _of_scaled
        return [level(sigma) for sigma in sigmas[: len(timesteps)]]
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return [(None, None)] * len(timesteps)
    shares = torch.as_tensor(kept).double().tolist()
    return [_of_share(shares[min(int(t), len(shares) - 1)]) for t in timesteps]


def _is_flow(scheduler: Any) -> bool:
    """Whether sigma mixes sample and noise in a straight line."""
    config = scheduler.config
    of_a_flow = any("FlowMatch" in kind.__name__ for kind in type(scheduler).__mro__)
    return of_a_flow or any(
        (config.get("use_flow_sigmas"), config.get("prediction_type") == "flow_prediction")
    )


def _of_flow(sigma: float) -> Level:
    return 1 - sigma, sigma


def _of_scaled(sigma: float) -> Level:
    """``sample + sigma * noise``, scaled to unit variance before the model sees it."""
    return (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5


def _of_share(share: float) -> Level:
    """The sample's share of the variance."""
    return share**0.5, (1 - share) ** 0.5
