"""A model's block lists, and standing in for their blocks while the model runs."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from skipstone.pipelines.class_swap import give_subclass, take_subclass_back
from skipstone.pipelines.probes import is_attention
from skipstone.pipelines.trace import Place

CallBlock = Callable[[Place, Any, tuple[Any, ...], dict[str, Any]], Any]


def block_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of attention blocks that a model runs, by name, in the order they are defined."""
    return dict(_lists_in(model))


def innermost_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of attention blocks that hold no other such list, however deep they lie."""
    lists = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and _holds_blocks(part)
    }
    return {name: part for name, part in lists.items() if not any(n.startswith(f"{name}.") for n in lists)}


def _lists_in(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists: a list within a block is the block's own."""
    for name, child in module.named_children():
        if not isinstance(child, nn.ModuleList):
            yield from _lists_in(child, f"{prefix}{name}.")
        elif _holds_blocks(child):
            yield prefix + name, child


def _holds_blocks(modules: nn.ModuleList) -> bool:
    """Whether a list holds blocks to call, not lists of their parts."""
    callable_ones = not any(isinstance(block, nn.ModuleList) for block in modules)
    return callable_ones and any(is_attention(part) for part in modules.modules())


class BlockCall:
    """What a model gets in place of a block: calling it leaves the choice to the evaluation.

    It has the block's attributes, for models that look at them, as plain values: `torch.compile` follows
    neither ``__getattr__`` nor two modules that share their parts.
    """

    def __init__(self, place: Place, block: nn.Module, call: CallBlock) -> None:
        self.__dict__.update(vars(block), **block._parameters, **block._buffers, **block._modules)
        self._place = place
        self._block = block
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._place, self._block, args, kwargs)


class ProxiedList:
    """Makes one block list hand out `BlockCall`s while the model runs, and its blocks at any other time.

    Args:
        number: the list's place among the model's lists.
        blocks: the list. Its class is swapped until `restore`; its content is never touched.
        running: whether the model is being evaluated right now.
        call: what a `BlockCall` does.
    """

    def __init__(
        self, number: int, blocks: nn.ModuleList, running: Callable[[], bool], call: CallBlock
    ) -> None:
        self._blocks = blocks
        cls = type(blocks)

        def proxies(self: nn.ModuleList) -> list[BlockCall]:
            return [BlockCall((number, n), block, call) for n, block in enumerate(cls.__iter__(self))]

        def iterate(self: nn.ModuleList) -> Iterator[Any]:
            return iter(proxies(self)) if self is blocks and running() else cls.__iter__(self)

        def get(self: nn.ModuleList, index: int | slice) -> Any:
            found = cls.__getitem__(self, index)
            if self is not blocks or not running():
                return found
            if isinstance(index, slice):
                return proxies(self)[index]
            return BlockCall((number, index % len(self)), found, call)

        give_subclass(blocks, {"__iter__": iterate, "__getitem__": get})

    def restore(self) -> None:
        take_subclass_back(self._blocks)


def proxied(
    number: int, part: nn.Module, running: Callable[[], bool], call: CallBlock
) -> "ProxiedList | ProxiedModule":
    """Hand the calls of one part of a model over: of the blocks in a list, or of a single module."""
    if isinstance(part, nn.ModuleList):
        return ProxiedList(number, part, running, call)
    return ProxiedModule(number, part, running, call)


class ProxiedModule:
    """Hands the calls of one module over while the model runs, and leaves them alone at any other time.

    Args:
        number: its place among the parts that are proxied.
        module: the module. Its class is swapped until `restore`.
        running: whether the model is being evaluated right now.
        call: gets the calls.
    """

    def __init__(self, number: int, module: nn.Module, running: Callable[[], bool], call: CallBlock) -> None:
        self._module = module
        cls = type(module)

        def called(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            run = functools.partial(cls.__call__, self)
            if self is not module or not running():
                return run(*args, **kwargs)
            return call((number, 0), run, args, kwargs)

        give_subclass(module, {"__call__": called})

    def restore(self) -> None:
        take_subclass_back(self._module)
