"""Set the defaults of a pipeline's call to those of its model."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from skipstone.pipelines.model.class_swap import give_subclass


def give_defaults(pipe: Any, defaults: Mapping[str, Any], look: Callable[[Mapping[str, Any]], None]) -> None:
    """Let a pipeline's call use these values for omitted arguments.

    Args:
        pipe: the pipeline; only its class is replaced, by a subclass of the same name.
        defaults: values by the names of the call's parameters.
        look: is shown the arguments of each call before it.
    """
    cls = type(pipe)
    plain = inspect.signature(cls.__call__)
    signature = plain.replace(
        parameters=[p.replace(default=defaults.get(p.name, p.default)) for p in plain.parameters.values()]
    )

    @functools.wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        # Pipelines refuse a negative prompt beside its embeddings.
        if bound.arguments.get("negative_prompt_embeds") is not None:
            bound.arguments.setdefault("negative_prompt", None)
        bound.apply_defaults()
        look(bound.arguments)
        return cls.__call__(*bound.args, **bound.kwargs)

    call.__signature__ = signature  # type: ignore[attr-defined]
    give_subclass(pipe, {"__call__": call})
