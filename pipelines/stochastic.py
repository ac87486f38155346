"""Which samplers draw fresh noise on every step, so that a model's inputs hardly resemble each other."""

from typing import Any

ALWAYS = frozenset(
    {
        "CMStochasticIterativeScheduler",
        "DDPMParallelScheduler",
        "DDPMScheduler",
        "DDPMWuerstchenScheduler",
        "DPMSolverSDEScheduler",
        "EulerAncestralDiscreteScheduler",
        "FlowMatchLCMScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "LCMScheduler",
        "LTXEulerAncestralRFScheduler",
        "SCMScheduler",
        "TCDScheduler",
        "UnCLIPScheduler",
    }
)
"""The diffusers classes that do so whatever their configuration."""


def draws_noise(scheduler: Any) -> bool:
    """Whether a scheduler adds fresh noise on its steps, by its class and configuration.

    What a pipeline passes to each step (``eta``, ``s_churn``) is not known before.
    """
    config = getattr(scheduler, "config", {})
    by_setting = "sde" in str(config.get("algorithm_type")) or bool(config.get("stochastic_sampling"))
    return by_setting or type(scheduler).__name__ in ALWAYS
