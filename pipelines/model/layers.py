"""The layers within a model's blocks that can be skipped one by one: attentions and feed-forwards."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from skipstone.cachers.contract.words import ATTENTION, LayerKind
from skipstone.pipelines.model.blocks import block_lists, innermost_lists
from skipstone.pipelines.model.outputs import floats_in
from skipstone.pipelines.model.probes import is_attention
from skipstone.pipelines.model.unets import is_unet

FEED_FORWARDS = ("ff", "ffn", "mlp", "feedforward")
"""What the names of feed-forwards and of their classes begin or end with, without underscores."""

ALONG_TIME = ("temporal", "temp_", "motion")
"""One of these is in the path of what attends along time."""

CONTEXTS = ("encoder_hidden_states", "encoder_states", "context")
"""What attention layers call the tokens that guide them."""


@dataclass(frozen=True)
class Found:
    """A layer, or a block as a whole, as it lies in a model.

    Args:
        module: the layer.
        name: its path in the model.
        kind: what it does; all attention is taken for that of the sample until it is called.
        block: the place of its block among all blocks.
        blocks: how many blocks there are.
        in_list: the path of the list that its block is in.
        is_last: whether its block is the last one in that list.
        is_only_attention: whether its block has no other attention.
    """

    module: nn.Module
    name: str
    kind: LayerKind
    block: int
    blocks: int
    in_list: str
    is_last: bool
    is_only_attention: bool


def layers_in(model: nn.Module, kinds: frozenset[LayerKind]) -> tuple[Found, ...]:
    """The layers of these kinds in a model's blocks, but not in blocks that refine the text beforehand."""
    lists = innermost_lists(model) if is_unet(model) else block_lists(model)
    placed = [
        (path, n, block, n == len(blocks) - 1)
        for path, blocks in lists.items()
        if "refiner" not in path
        for n, block in enumerate(blocks)
    ]
    return tuple(
        found
        for place, (path, n, block, is_last) in enumerate(placed)
        for found in _found_in(block, f"{path}.{n}", place, len(placed), path, is_last)
        if found.kind in kinds or (found.kind in ATTENTION and kinds & ATTENTION)
    )


def kind_when_called(
    found: Found, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
) -> LayerKind:
    """What a layer does, told by a call of it.

    Attention to a context is self attention too where it returns the context as well, and where its block has
    no other attention: the tokens of both attend as one.
    """
    if found.kind not in ATTENTION:
        return found.kind
    given = inspect.signature(found.module.forward).bind_partial(*args, **kwargs).arguments
    given.update(given.pop("kwargs", {}))
    main = next((value for value in given.values() if isinstance(value, Tensor)), None)
    contexts = [given[name] for name in CONTEXTS if isinstance(given.get(name), Tensor)]
    is_joint = found.is_only_attention or len(list(floats_in(output))) > 1
    if any(context is not main for context in contexts) and not is_joint:
        return LayerKind.CROSS_ATTENTION
    is_along_time = any(word in found.name for word in ALONG_TIME)
    return LayerKind.TEMPORAL_ATTENTION if is_along_time else LayerKind.SELF_ATTENTION


def _found_in(
    block: nn.Module, path: str, place: int, blocks: int, in_list: str, is_last: bool
) -> Iterator[Found]:
    """A block, and the layers in it."""
    layers = list(_layers(block))
    is_only = sum(kind in ATTENTION for _, _, kind in layers) == 1
    for name, part, kind in [("", block, LayerKind.BLOCK), *layers]:
        yield Found(part, path + name, kind, place, blocks, in_list, is_last, is_only)


def _layers(block: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module, LayerKind]]:
    """The outermost attentions and feed-forwards: a layer within a layer is that one's own."""
    if not prefix and is_attention(block) and not any(map(is_attention, block.children())):
        yield "", block, LayerKind.SELF_ATTENTION
        return
    for name, child in block.named_children():
        path = f"{prefix}.{name}"
        if is_attention(child):
            yield path, child, LayerKind.SELF_ATTENTION
        elif _is_feed_forward(name, child):
            yield path, child, LayerKind.FEED_FORWARD
        else:
            yield from _layers(child, path)


def _is_feed_forward(name: str, module: nn.Module) -> bool:
    """Whether a module is a whole feed-forward by its name: a norm, or one projection of several, is none."""
    if "norm" in name or not any(True for _ in module.children()):
        return False
    names = (name.lower().replace("_", ""), type(module).__name__.lower())
    return any(one.startswith(FEED_FORWARDS) or one.endswith(FEED_FORWARDS) for one in names)
