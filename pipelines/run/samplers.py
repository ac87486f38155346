"""Whether samplers draw new noise on their steps."""

from collections.abc import Mapping
from typing import Any

ALWAYS = (
    "CMStochastic",
    "CogVideoXDPM",
    "CosineDPM",
    "DDPM",
    "LCM",
    "RePaint",
    "SASolver",
    "SCM",
    "SDE",
    "Sde",
    "TCD",
    "UnCLIP",
)
"""Parts of the names of diffusers' schedulers that always draw noise."""


KEEPING: Mapping[str, tuple[str, ...]] = {
    "CogVideoXDDIMScheduler": (),
    "DDIMParallelScheduler": (),
    "DDIMScheduler": (),
    "DPMSolverMultistepScheduler": ("model_outputs",),
    "EulerDiscreteScheduler": (),
    "FlowMatchEulerDiscreteScheduler": (),
    "UniPCMultistepScheduler": ("model_outputs", "last_sample"),
}
"""Schedulers of diffusers whose steps add up outputs, and where they keep what later steps use again."""


def keeps(scheduler: Any) -> tuple[str, ...] | None:
    """Where a scheduler keeps what later steps use again; None if its steps do not just add up outputs.

    Pipelines that put ``sigma_data`` into the configuration mix latents into the output beforehand.
    """
    kind, config = type(scheduler), scheduler.config
    does_more = any(map(config.get, ("clip_sample", "thresholding", "sigma_data", "solver_p")))
    is_known = kind.__module__.startswith("diffusers.") and not does_more
    return KEEPING.get(kind.__name__) if is_known else None


def draws_noise(scheduler: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a scheduler adds new noise on its steps.

    Args:
        scheduler: a diffusers scheduler.
        arguments: the keyword arguments of a step; ``eta`` and ``s_churn`` above 0 ask for noise.
    """
    config, name = scheduler.config, type(scheduler).__name__
    if any((arguments.get("eta"), arguments.get("s_churn"), config.get("stochastic_sampling"))):
        return True
    if "Ancestral" in name:
        return bool(config.get("eta", 1.0))
    return str(config.get("algorithm_type")).startswith("sde-") or any(part in name for part in ALWAYS)
