"""Follow a pipeline's calls: their guidance scales, and which call is in progress where."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.run.per_task import PerTask

SCALES = ("guidance_scale", "true_cfg_scale")
"""The parameters of pipelines' calls that are guidance scales."""

NEGATIVES = ("negative_prompt", "negative_prompt_embeds")
"""Pipelines with ``true_cfg_scale`` use guidance only with one of these."""


@dataclass(eq=False)
class PipelineCall:
    """One call of a pipeline.

    Args:
        pipe: the pipeline.
        scales: the guidance scales, by the names of the call's parameters.
    """

    pipe: Any
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int | None:
        """How many steps its present loop will take, if the pipeline says so."""
        said = getattr(self.pipe, "_num_timesteps", None)
        return said if isinstance(said, int) and said > 0 else None

    @property
    def strengths(self) -> dict[str, float]:
        """The strengths of guidance on its present step, which callbacks and some pipelines change."""
        guiders = {name: part for name, part in vars(self.pipe).items() if "guider" in name}
        return {
            f"{owner} {name}": value
            for owner, part in {"": self.pipe, **guiders}.items()
            for name, value in getattr(part, "__dict__", {}).items()
            if "scale" in name and isinstance(value, (int, float))
        }


class PipelineCalls:
    """Follow the calls of one pipeline, whose class is swapped until `restore`.

    Args:
        pipe: the pipeline.
        on_call: receives each call when it begins.
        on_return: receives each call after it has returned or raised.
    """

    def __init__(
        self, pipe: Any, on_call: Callable[[PipelineCall], None], on_return: Callable[[PipelineCall], None]
    ) -> None:
        cls = type(pipe)
        # Each thread and task has its own value, so concurrent calls are told apart.
        self._current: PerTask[PipelineCall | None] = PerTask(None)
        current = self._current

        @functools.wraps(cls.__call__)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            outer = current.get()
            present = PipelineCall(self, guidance_scales(cls, args, kwargs))
            current.set(present)
            on_call(present)
            try:
                return cls.__call__(self, *args, **kwargs)
            finally:
                current.set(outer)
                on_return(present)

        self._swap = give_subclass(pipe, {"__call__": call})

    @property
    def current(self) -> PipelineCall | None:
        """The innermost call in progress in this thread or task."""
        return self._current.get()

    def restore(self) -> None:
        """Restore the pipeline's class."""
        self._swap.undo()


def guidance_scales(cls: type[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, float]:
    """The guidance scales of a pipeline's call, by the names of the call's parameters.

    Without a negative prompt ``true_cfg_scale`` has no effect and counts as 1.

    Raises:
        TypeError: the pipeline does not accept such arguments.
    """
    bound = inspect.signature(cls.__call__).bind(None, *args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    scales = {name: float(given[name]) for name in SCALES if isinstance(given.get(name), (int, float))}
    if "true_cfg_scale" in scales and all(given.get(name) is None for name in NEGATIVES):
        scales["true_cfg_scale"] = 1.0
    return scales
