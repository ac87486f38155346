"""What samplers do on their steps: which of them draw noise, and which just add up outputs."""

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
    "FlowMapEulerDiscreteScheduler": (),
    "FlowMatchEulerDiscreteScheduler": (),
    "UniPCMultistepScheduler": ("model_outputs", "last_sample"),
}
"""Schedulers of diffusers whose steps add up outputs, and where they keep what later steps use again."""


def keeps(scheduler: Any) -> tuple[str, ...] | None:
    """Where a scheduler keeps what later steps use again; None if its steps do not just add up outputs.

    Pipelines that put ``sigma_data`` into the configuration mix latents into the output beforehand.
    """
    does_more = any(map(scheduler.config.get, ("clip_sample", "thresholding", "sigma_data", "solver_p")))
    is_known = type(scheduler).step.__module__.startswith("diffusers.") and not does_more
    return KEEPING.get(steps_as(scheduler)) if is_known else None


def steps_as(scheduler: Any) -> str:
    """The name of the class whose step a scheduler takes.

    One of another name may take its base's step, and one of a like name a step of its own.
    """
    step: str = type(scheduler).step.__qualname__
    return step.split(".")[0]


MIXING = "PRXPixelPipeline"
"""The pipeline of a model that predicts the sample, of which it makes a velocity with the latents."""


def mixes_latents(pipe: Any) -> bool:
    """Whether a pipeline makes what it gives to the scheduler from latents, too."""
    return any(kind.__name__ == MIXING for kind in type(pipe).__mro__)


def draws_noise(scheduler: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a scheduler adds new noise on its steps.

    Args:
        scheduler: a diffusers scheduler.
        arguments: the arguments of a step, by name; ``eta`` and ``s_churn`` above 0 ask for noise.
    """
    config, name = scheduler.config, type(scheduler).__name__
    if any((arguments.get("eta"), arguments.get("s_churn"), config.get("stochastic_sampling"))):
        return True
    if "Ancestral" in name:
        return bool(config.get("eta", 1.0))
    return str(config.get("algorithm_type")).startswith("sde-") or any(part in name for part in ALWAYS)
