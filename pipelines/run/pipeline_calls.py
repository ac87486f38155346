"""Following a pipeline's calls: how strongly the prompt shall steer, and when one is over."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skipstone.pipelines.model.class_swap import give_subclass

SCALES = ("guidance_scale", "true_cfg_scale")
"""The parameters of pipelines' calls that say how strongly the prompt steers."""

NEGATIVES = ("negative_prompt", "negative_prompt_embeds")
"""Without one of these, pipelines with ``true_cfg_scale`` do not guide."""


class PipelineCalls:
    """Follows the calls of one pipeline, whose class is swapped until `restore`.

    Args:
        pipe: the pipeline.
        on_return: called when a call of it has returned or raised.

    ``scales`` are those of the current or last call.
    """

    def __init__(self, pipe: Any, on_return: Callable[[], None]) -> None:
        cls, calls = type(pipe), self

        self.scales: dict[str, float] = {}

        @functools.wraps(cls.__call__)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.scales = guidance_scales(cls, args, kwargs)
            try:
                return cls.__call__(self, *args, **kwargs)
            finally:
                on_return()

        self._swap = give_subclass(pipe, {"__call__": call})

    def restore(self) -> None:
        """Give the pipeline its class back."""
        self._swap.undo()


def guidance_scales(cls: type[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, float]:
    """How strongly the prompt steers a call of a pipeline, by the names of the call's parameters.

    Without a negative prompt ``true_cfg_scale`` does nothing, so it is 1 then.

    Raises:
        TypeError: the pipeline does not take such arguments.
    """
    bound = inspect.signature(cls.__call__).bind(None, *args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    scales = {name: float(given[name]) for name in SCALES if isinstance(given.get(name), (int, float))}
    if "true_cfg_scale" in scales and all(given.get(name) is None for name in NEGATIVES):
        scales["true_cfg_scale"] = 1.0
    return scales
