"""Models whose weights ``fully_shard`` has spread over processes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

WRAPPED = (
    "is wrapped in FullyShardedDataParallel, inside which single blocks cannot be skipped: spread its "
    "weights with torch.distributed.fsdp.fully_shard instead (in accelerate: fsdp_version=2)"
)


def class_name(model: nn.Module) -> str:
    """The name of the class that a model was made from; ``fully_shard`` moves models to another one."""
    return next(cls.__name__ for cls in type(model).__mro__ if not hasattr(cls, "unshard"))


def is_wrapped(model: nn.Module) -> bool:
    """Whether a model's weights are flattened by a wrapper around it."""
    return "_fsdp_wrapped_module" in model._modules


def spread_again(model: nn.Module) -> None:
    """Let go of weights that were gathered for the model's last call."""
    for holder in _holders(model):
        holder.reshard()


def _holders(model: nn.Module) -> list[Any]:
    """The modules that gather weights for their calls."""
    return [one for one in model.modules() if hasattr(one, "unshard")]


@contextmanager
def gathered(model: nn.Module, part: nn.Module) -> Iterator[None]:
    """Hold the weights of a part whole while it runs outside the calls that would gather them.

    All processes that share the model must come here.

    Args:
        model: the model, or one of its blocks.
        part: the same, or a module inside it.
    """
    with ExitStack() as stack:
        for holder in _holders(model):
            if any(inner is part for inner in holder.modules()):
                holder.unshard()
                stack.callback(holder.reshard)
        yield
