"""A user's options as the arguments of a pipeline's call. No option is ever dropped."""

import inspect
from dataclasses import dataclass, fields
from typing import Any

from skipstone.pipelines.opening.sources import Source

PARAMETERS = {
    "prompt": ("prompt",),
    "negative": ("negative_prompt",),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale", "true_cfg_scale"),
    "width": ("width",),
    "height": ("height",),
    "frames": ("num_frames",),
}
"""For each option, the parameters of a pipeline's call that it can set."""


@dataclass(frozen=True)
class Options:
    """A user's options; None leaves a value to the model.

    Args:
        prompt: the prompt.
        negative: the negative prompt.
        steps: denoising steps, from 1.
        guidance: the guidance scale; 1 turns guidance off.
        width: in pixels.
        height: in pixels.
        frames: the number of frames of a video.
    """

    prompt: str
    negative: str | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None

    def given(self) -> dict[str, Any]:
        """The options that are not None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def makes_video(cls: type[Any]) -> bool:
    """Whether a pipeline makes videos, judged by its signature."""
    return "num_frames" in _signature(cls)


def check_options(cls: type[Any], options: Options) -> None:
    """Refuse what a pipeline class cannot do, before it is loaded.

    Raises:
        ValueError: the pipeline lacks an option, or needs another input besides the prompt.
    """
    signature = _signature(cls)
    accepted = [name for name, names in PARAMETERS.items() if any(n in signature for n in names)]
    for name in options.given():
        if name not in accepted:
            raise ValueError(f"{cls.__name__} has no {name!r}; it takes: {', '.join(accepted)}")
    for name, parameter in signature.items():
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise ValueError(f"{cls.__name__} needs {name!r} beside the prompt; call it from Python")


def call_arguments(pipe: Any, source: Source, options: Options) -> dict[str, Any]:
    """Turn options into the arguments of a pipeline's call.

    Raises:
        ValueError: a negative prompt that the pipeline would ignore.
    """
    guidance = guidance_parameter(pipe)
    asked = {
        guidance if name == "guidance" else PARAMETERS[name][0]: v for name, v in options.given().items()
    }
    arguments = {**source.defaults, **asked}
    scale = arguments.get(guidance, _default(pipe, guidance))
    if options.negative is not None and scale is not None and scale <= 1:
        raise ValueError(
            f"{type(pipe).__name__} ignores a negative prompt at {guidance} {scale:g}; "
            "ask for guidance above 1, or leave the negative prompt out"
        )
    if guidance == "true_cfg_scale":
        arguments.setdefault("negative_prompt", "")
    return arguments


def guidance_parameter(pipe: Any) -> str:
    """The parameter of a pipeline's call for classifier-free guidance.

    If the call has ``true_cfg_scale``, its ``guidance_scale`` is an input of distilled models and does
    nothing for others.
    """
    config = getattr(getattr(pipe, "transformer", None), "config", {})
    distilled = config.get("guidance_embeds", False)
    return (
        "true_cfg_scale" if "true_cfg_scale" in _signature(type(pipe)) and not distilled else "guidance_scale"
    )


def _default(pipe: Any, name: str) -> Any:
    parameters = _signature(type(pipe))
    return parameters[name].default if name in parameters else None


def _signature(cls: type[Any]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(cls.__call__).parameters)
    del parameters["self"]
    return parameters
