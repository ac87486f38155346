"""Other caches on a model: two caches at once would reuse each other's estimates."""

import functools
import sys
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import Any

from torch import nn

from skipstone.pipelines.model.blocks import block_lists

FORWARDS = ("forward", "_old_forward", "_original_forward")
"""The attributes that hold a replaced ``forward`` and the original one."""

CACHING = "cach"
"""Names of caches contain this; nothing else tells them from other wrappers of a model."""


def other_caches(model: nn.Module) -> list[str]:
    """The caches of other packages on a model, each with the way to remove it.

    In diffusers these are hooks that keep state between calls, whether enabled or applied directly. Other
    packages replace a module's ``forward`` by a function whose name or package says that it caches.
    """
    return sorted({*_of_diffusers(model), *_standing_in(model)})


def forwards(model: nn.Module) -> Callable[[], Any]:
    """A sign of the ``forward`` functions of a model, its blocks and their parts; switching a cache on
    changes it.

    Returns:
        A function that returns the present sign, to compare with an earlier one. It takes about ten
        microseconds.
    """
    blocks = [block for blocks in block_lists(model).values() for block in blocks]
    parts = [model, *blocks, *(part for block in blocks for part in block.children())]
    kept = [vars(part) for part in parts]
    forward = methodcaller("get", "forward")
    return lambda: (list(map(forward, kept)), vars(model).get("_cache_config"))


def _of_diffusers(model: nn.Module) -> Iterator[str]:
    config = getattr(model, "_cache_config", None)
    if config is not None:
        yield f"diffusers' {type(config).__name__}, which {type(model).__name__}.disable_cache() switches off"
        return
    for name, hook in _hooks(model):
        if getattr(hook, "_is_stateful", False):
            take_off = f"HookRegistry.check_if_exists_or_initialize(model).remove_hook({name!r})"
            yield f"{type(hook).__module__}.{type(hook).__name__}, which {take_off} switches off"


def _hooks(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for registry in map(_registry, model.modules()):
        yield from registry.hooks.items() if registry is not None else ()


def _registry(module: nn.Module) -> Any:
    """diffusers' hooks on a module, or None."""
    return vars(module).get("_diffusers_hook")


def _standing_in(model: nn.Module) -> Iterator[str]:
    for module in model.modules():
        own = {base.__module__ for base in type(module).__mro__}
        for function in _forwards_of(module):
            package, name = _origin(function)
            known = package in own or package.startswith("diffusers.")
            if not known and CACHING in f"{package}.{name}".lower():
                yield f"{package}.{name}, which {_switch(package)}"


def _forwards_of(module: nn.Module) -> Iterator[Any]:
    yield type(module).forward
    yield from (vars(module)[name] for name in FORWARDS if name in vars(module))
    yield from (reference.forward for reference in getattr(_registry(module), "_fn_refs", ()))


def _origin(function: Any) -> tuple[str, str]:
    """The module and the name of a function's source, whatever its attributes say."""
    function = function.func if isinstance(function, functools.partial) else function
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function).__module__, type(function).__name__
    return function.__globals__["__name__"], code.co_name


def _switch(package: str) -> str:
    top = package.partition(".")[0]
    known = hasattr(sys.modules.get(top), "disable_cache")
    return f"{top}.disable_cache(pipe) switches off" if known else "has to be taken off as its package says"
