"""Models that are wrapped or compiled as a whole: detect them, and run them uncompiled."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from packaging.version import Version
from torch import nn
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.nn.parallel import DistributedDataParallel

FOLLOWS = Version(torch.__version__) >= Version("2.9")
"""Whether `torch.compile` follows a whole model with a cache: 2.8 changes numbers, 2.6 ends the process."""


def written(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of `torch.compile` and of ``accelerate``'s data parallelism."""
    *_, innermost = _layers(model)
    return innermost


def _layers(model: nn.Module | None) -> Iterator[nn.Module]:
    """A model and the models inside it, from the outside in."""
    while model is not None:
        yield model
        inner = "module" if isinstance(model, DistributedDataParallel) else "_orig_mod"
        model = model._modules.get(inner)


def uncompiled(function: Callable[..., Any], recursive: bool = True) -> Callable[..., Any]:
    """A function that is never compiled; compiled modules that it calls stay compiled."""
    plain: Callable[..., Any] = torch.compiler.disable(function, recursive)  # type: ignore[no-untyped-call]
    return plain


def compiles(model: nn.Module) -> bool:
    """Whether a call runs the model compiled as a whole: wrapped, in place, or inside a compiled caller."""
    by_caller = callable(get_eval_frame_callback())
    return by_caller or any(
        "_orig_mod" in layer._modules or layer._compiled_call_impl is not None for layer in _layers(model)
    )


def run_as_written(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a model uncompiled, with its hooks."""
    run: Callable[..., Any] = written(model)._call_impl
    return run(*args, **kwargs)
