"""A model's block lists, and stand-ins for their blocks while the model runs."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from skipstone.pipelines.model.class_swap import Swap, give_subclass
from skipstone.pipelines.model.compiled import uncompiled
from skipstone.pipelines.model.probes import is_attention
from skipstone.pipelines.model.trace import Place

CallBlock = Callable[[Place, Any, tuple[Any, ...], dict[str, Any]], Any]


def block_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of attention blocks that a model runs, by name, in the order of their definition."""
    return dict(_lists_in(model))


def innermost_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of attention blocks, at any depth, that contain no other such list."""
    lists = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and _holds_blocks(part)
    }
    return {name: part for name, part in lists.items() if not any(n.startswith(f"{name}.") for n in lists)}


def _lists_in(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists; a list within a block belongs to that block."""
    for name, child in module.named_children():
        if not isinstance(child, nn.ModuleList):
            yield from _lists_in(child, f"{prefix}{name}.")
        elif _holds_blocks(child):
            yield prefix + name, child


def _holds_blocks(modules: nn.ModuleList) -> bool:
    """Whether a list holds callable blocks, not lists of their parts."""
    callable_ones = not any(isinstance(block, nn.ModuleList) for block in modules)
    return callable_ones and any(is_attention(part) for part in modules.modules())


class BlockCall:
    """Stands in for a block; calling it lets the evaluation decide what happens."""

    def __init__(self, place: Place, block: nn.Module, call: CallBlock) -> None:
        self._place = place
        self._block = block
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._place, self._block, args, kwargs)


class LookingBlockCall(BlockCall):
    """A `BlockCall` with the block's attributes, for models that read them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_block"], name)


class OpenBlockCall(BlockCall):
    """A `BlockCall` that has the block's attributes as plain values.

    `torch.compile` supports neither ``__getattr__`` here nor two modules that share their parts.
    """

    def renew(self) -> None:
        """Take the values that the block's attributes have now."""
        block = self._block
        self.__dict__.update(vars(block), **block._parameters, **block._buffers, **block._modules)


class ProxiedList:
    """Make one block list return `BlockCall`s while the model runs, and its blocks at any other time.

    Args:
        number: the list's number among the model's lists.
        blocks: the list. Its class is swapped until `restore`; its content is never touched.
        running: returns whether the model is being evaluated right now.
        call: the function that a `BlockCall` calls.
    """

    def __init__(
        self, number: int, blocks: nn.ModuleList, running: Callable[[], bool], call: CallBlock
    ) -> None:
        cls = type(blocks)
        known: list[nn.Module] = []
        calls: list[BlockCall] = []
        self._number, self._blocks, self._call = number, blocks, call
        self._opened: list[OpenBlockCall] = []
        opened = self._opened

        def proxies(self: nn.ModuleList) -> Sequence[BlockCall]:
            if torch.compiler.is_dynamo_compiling():
                return opened
            present = list(cls.__iter__(self))
            if present != known:
                known[:] = present
                calls[:] = [LookingBlockCall((number, n), block, call) for n, block in enumerate(present)]
            return calls

        def iterate(self: nn.ModuleList) -> Iterator[Any]:
            return iter(proxies(self)) if running() else cls.__iter__(self)

        def get(self: nn.ModuleList, index: int | slice) -> Any:
            found = cls.__getitem__(self, index)
            if not running():
                return found
            if isinstance(index, slice) or torch.compiler.is_dynamo_compiling():
                return proxies(self)[index]
            return LookingBlockCall((number, index % len(self)), found, call)

        self._swap = give_subclass(blocks, {"__iter__": iterate, "__getitem__": get})

    def open(self) -> None:
        """Get ready for `torch.compile`: it follows stand-ins that are there, but not how they are made."""
        present = self._blocks._modules.values()
        if [stand_in._block for stand_in in self._opened] != list(present):
            self._opened[:] = [OpenBlockCall((self._number, n), b, self._call) for n, b in enumerate(present)]
        for stand_in in self._opened:
            stand_in.renew()

    def restore(self) -> None:
        self._swap.undo()


class ProxiedModules:
    """Redirect the calls of some modules while the model runs; at any other time they stay as they are.

    Modules of one class keep a common class, so `torch.compile` still treats them alike.

    Args:
        numbers: the modules, each with its number among the redirected modules. Their classes are swapped
            until `restore`.
        running: returns whether the model is being evaluated right now.
        call: receives the calls.
        opaque: whether the compiler must not trace into the calls.
    """

    def __init__(
        self, numbers: Mapping[nn.Module, int], running: Callable[[], bool], call: CallBlock, opaque: bool
    ) -> None:
        self._numbers = {id(module): number for module, number in numbers.items()}
        self._opaque = opaque
        self._running = running
        self._call = call
        alike: dict[type[nn.Module], list[nn.Module]] = {}
        for module in numbers:
            alike.setdefault(type(module), []).append(module)
        self._swaps = [Swap(cls, modules, self._members(cls)) for cls, modules in alike.items()]

    def _members(self, cls: type[nn.Module]) -> dict[str, Callable[..., Any]]:
        numbers, running, call = self._numbers, self._running, self._call

        def called(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            run = functools.partial(cls.__call__, self)
            if not running():
                return run(*args, **kwargs)
            return call((numbers[id(self)], 0), run, args, kwargs)

        return {"__call__": uncompiled(called, recursive=False) if self._opaque else called}

    def restore(self) -> None:
        for swap in self._swaps:
            swap.undo()


def proxied(
    modules: Sequence[nn.Module], running: Callable[[], bool], call: CallBlock, opaque: bool
) -> list[ProxiedList | ProxiedModules]:
    """Redirect the calls of a model's blocks in lists, and of single modules.

    Args:
        modules: the lists and the modules.
        running: returns whether the model is being evaluated right now.
        call: receives the calls.
        opaque: whether the compiler must not trace into the calls.
    """
    call = uncompiled(call) if opaque else call
    lists = {n: one for n, one in enumerate(modules) if isinstance(one, nn.ModuleList)}
    single = {one: n for n, one in enumerate(modules) if not isinstance(one, nn.ModuleList)}
    many = [ProxiedList(n, blocks, running, call) for n, blocks in lists.items()]
    return [*many, ProxiedModules(single, running, call, opaque)]
