"""The layers in a model's blocks that can be skipped one by one: attentions and feed-forwards."""

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
"""Names and classes of feed-forwards begin or end with one of these, without underscores."""

ALONG_TIME = ("temporal", "temp_", "motion")
"""The path of attention along time contains one of these."""

CONTEXTS = ("encoder_hidden_states", "encoder_states", "context")
"""The names of the context's parameter in attention layers."""


@dataclass(frozen=True)
class Found:
    """A layer of a model, or a whole block.

    Args:
        module: the layer.
        name: its path in the model.
        kind: what the layer does; attention counts as self attention until it is called.
        block: the number of its block among all blocks, from 0.
        blocks: how many blocks there are.
        in_list: the path of its block's list.
        is_last: whether its block is the last one of that list.
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
    """The layers of these kinds in a model's blocks, without the blocks that refine the text."""
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
    """The kind of a layer, judged by one of its calls.

    Attention with a context counts as self attention if it also returns the context, or if its block has no
    other attention: then the tokens of both attend jointly.
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
    """The outermost attentions and feed-forwards; layers within a layer belong to it."""
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
    """Whether a module is a complete feed-forward by its name; norms and single projections are not."""
    if "norm" in name or not any(True for _ in module.children()):
        return False
    names = (name.lower().replace("_", ""), type(module).__name__.lower())
    return any(one.startswith(FEED_FORWARDS) or one.endswith(FEED_FORWARDS) for one in names)
