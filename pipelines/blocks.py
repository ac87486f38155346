"""A model's block lists, and standing in for their blocks while the model runs."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from skipstone.pipelines.class_swap import give_subclass, take_subclass_back
from skipstone.pipelines.probes import is_attention
from skipstone.pipelines.trace import Place

CallBlock = Callable[[Place, nn.Module, tuple[Any, ...], dict[str, Any]], Any]


def block_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of attention blocks that a model runs, by name, in the order they are defined.

    Raises:
        ValueError: there are none.
    """
    found = dict(_lists_in(model))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no list of attention blocks among its parts: "
            f"{', '.join(name for name, _ in model.named_children()) or 'it has no parts'}; "
            "skipstone needs a model that keeps its transformer blocks in an nn.ModuleList"
        )
    return found


def _lists_in(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists: a list within a block is the block's own."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList) and any(is_attention(part) for part in child.modules()):
            yield prefix + name, child
        else:
            yield from _lists_in(child, f"{prefix}{name}.")


def stand_in(block: nn.Module, call: Callable[..., Any]) -> nn.Module:
    """The block itself in all but being called: it shares the block's class and attributes."""
    double: nn.Module = object.__new__(type(block))
    double.__dict__ = block.__dict__
    give_subclass(double, {"__call__": lambda self, *args, **kwargs: call(args, kwargs)})
    return double


class ProxiedList:
    """Makes one block list hand out stand-ins while the model runs, and its blocks at any other time.

    Args:
        number: the list's place among the model's lists.
        blocks: the list. Its class is swapped until `restore`; its content is never touched.
        running: whether the model is being evaluated right now.
        call: what calling a stand-in does.
    """

    def __init__(
        self, number: int, blocks: nn.ModuleList, running: Callable[[], bool], call: CallBlock
    ) -> None:
        self._blocks = blocks
        self._number = number
        self._call = call
        self._doubles: dict[tuple[int, nn.Module], nn.Module] = {}
        cls = type(blocks)

        def doubles(self: nn.ModuleList) -> list[nn.Module]:
            return [proxied._double(n, block) for n, block in enumerate(cls.__iter__(self))]

        def iterate(self: nn.ModuleList) -> Iterator[Any]:
            return iter(doubles(self)) if self is blocks and running() else cls.__iter__(self)

        def get(self: nn.ModuleList, index: int | slice) -> Any:
            return doubles(self)[index] if self is blocks and running() else cls.__getitem__(self, index)

        proxied = self
        give_subclass(blocks, {"__iter__": iterate, "__getitem__": get})

    def restore(self) -> None:
        take_subclass_back(self._blocks)

    def _double(self, n: int, block: nn.Module) -> nn.Module:
        """The block's stand-in, made once: a class is made for each."""
        key = (n, block)
        if key not in self._doubles:
            place, call = (self._number, n), self._call
            self._doubles[key] = stand_in(block, lambda args, kwargs: call(place, block, args, kwargs))
        return self._doubles[key]
