"""What ComfyUI calls things, and where its calls carry them.

ComfyUI is never imported: it hands its objects to the nodes, and its names are plain strings.

Source: the wrappers of ComfyUI's model patcher, which its own EasyCache uses (Comfy-Org/ComfyUI#9496).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

OUTER_SAMPLE = "outer_sample"
"""The kind of wrapper around a sampler's run."""

PREDICT_NOISE = "predict_noise"
"""The kind around one prediction for all conditions, guidance included."""

DIFFUSION_MODEL = "diffusion_model"
"""The kind around one call of the model, for the conditions of one batch; also the model's own name."""

KEY = "skipstone"
"""Under which our wrappers and our attachment are kept."""

OTHER_CACHES = ("easycache", "lazycache")
"""The keys of ComfyUI's own caches, which skip with the same wrappers."""


class Executor(Protocol):
    """Calls the next wrapper, or what is wrapped. ``class_obj`` is the object whose method that is."""

    class_obj: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Sampling:
    """What ComfyUI is asked to sample.

    Args:
        guider: combines the conditions' predictions.
        sampler: the sampler.
        sigmas: its noise levels, falling; the last one is where it ends.
        noise: the noise, ``(batch, channels, ...)``.
        masked: whether only a part of the picture is sampled.
    """

    guider: Any
    sampler: Any
    sigmas: tuple[float, ...]
    noise: Any
    masked: bool

    @property
    def patcher(self) -> Any:
        """The model with its patches."""
        return self.guider.model_patcher

    @property
    def transformer_options(self) -> Mapping[str, Any]:
        """What all calls of the model are given."""
        found: Mapping[str, Any] = self.guider.model_options.get("transformer_options", {})
        return found

    @property
    def sampler_name(self) -> str:
        """Of the function that samples, such as ``sample_euler``; else of the sampler's class."""
        function = getattr(self.sampler, "sampler_function", type(self.sampler))
        return str(getattr(function, "__name__", type(function).__name__))

    @property
    def sampler_options(self) -> Mapping[str, Any]:
        """What the function that samples is given by name, such as ``eta``."""
        found: Mapping[str, Any] = getattr(self.sampler, "extra_options", {})
        return found

    @property
    def controls(self) -> list[Any]:
        """The ControlNets of the conditions."""
        conds = getattr(self.guider, "conds", {}).values()
        found = [one.get("control") for several in conds for one in several or ()]
        return [control for control in found if control is not None]

    @property
    def is_hooked(self) -> bool:
        """Whether adapters or other changes of the model belong to single conditions or steps."""
        return self.guider.model_options.get("registered_hooks") is not None

    @property
    def other_caches(self) -> list[str]:
        """Caches of ComfyUI on the same model."""
        wrappers = self.transformer_options.get("wrappers", {})
        keys = {
            str(key).lower() for kind in (PREDICT_NOISE, DIFFUSION_MODEL) for key in wrappers.get(kind, {})
        }
        return [name for name in OTHER_CACHES if name in keys]


def call_options(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The transformer options among the arguments of a model's call; models take them at different places."""
    given = kwargs.get("transformer_options")
    places = [given, *reversed(args)]
    return next((one for one in places if isinstance(one, Mapping) and "cond_or_uncond" in one), {})
