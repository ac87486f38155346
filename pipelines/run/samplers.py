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


ONCE = (
    "CogVideoXDDIM",
    "DDIM",
    "DDIMParallel",
    "EulerDiscrete",
    "FlowMapEulerDiscrete",
    "FlowMatchEulerDiscrete",
)
"""The names of those that use each output once, in a step of first order."""


def uses_outputs_once(scheduler: Any) -> bool:
    """Whether a step depends on the model's own output alone, and linearly.

    Pipelines that put ``sigma_data`` into the configuration mix latents into the output beforehand.
    """
    # A scheduler of another name may take its base's step, and one of a like name a step of its own.
    origin = type(scheduler).step.__qualname__.rpartition(".")[0].rpartition(".")[2]
    clips_or_mixes = any(map(scheduler.config.get, ("clip_sample", "thresholding", "sigma_data")))
    return origin.removesuffix("Scheduler") in ONCE and not clips_or_mixes


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
