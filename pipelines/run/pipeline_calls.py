"""Following a pipeline's calls: how strongly the prompt steers, and which call is under way where."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.run.per_task import PerTask

SCALES = ("guidance_scale", "true_cfg_scale")
"""The parameters of pipelines' calls that say how strongly the prompt steers."""

NEGATIVES = ("negative_prompt", "negative_prompt_embeds")
"""Without one of these, pipelines with ``true_cfg_scale`` do not guide."""


@dataclass(eq=False)
class PipelineCall:
    """One call of a pipeline.

    Args:
        pipe: the pipeline.
        scales: how strongly the prompt steers, by the names of the call's parameters.
    """

    pipe: Any
    scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int | None:
        """How many steps the loop that it is in will execute, where the pipeline says so."""
        said = getattr(self.pipe, "_num_timesteps", None)
        return said if isinstance(said, int) and said > 0 else None


class PipelineCalls:
    """Follows the calls of one pipeline, whose class is swapped until `restore`.

    Args:
        pipe: the pipeline.
        on_call: called with each call when it begins.
        on_return: called with it when it has returned or raised.
    """

    def __init__(
        self, pipe: Any, on_call: Callable[[PipelineCall], None], on_return: Callable[[PipelineCall], None]
    ) -> None:
        cls = type(pipe)
        # A context of its own for each thread and each task, so that calls at the same time are told apart.
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
        """The innermost call that is under way here."""
        return self._current.get()

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
