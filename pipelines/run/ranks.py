"""What all processes that share a model must agree on."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def process_group(model: nn.Module) -> Any:
    """The processes that share one evaluation of a model; None if a single process runs it.

    They come from diffusers' ``enable_parallelism`` and from weights that ``fully_shard`` has spread. Both
    may follow after attaching, so they are read for each run. Processes that run the model on other samples,
    with all weights of their own, decide for themselves.

    Raises:
        ValueError: it is shared in two ways, by processes of which none share it in both.
    """
    groups = [*_configured(model), *_holding_weights(model)]
    if not groups:
        return None
    widest = max(groups, key=_size)
    if not all(_ranks(group) <= _ranks(widest) for group in groups):
        found = " and ".join(str(sorted(_ranks(group))) for group in groups)
        raise ValueError(
            f"{type(model).__name__} is shared by processes {found}: one way of sharing must span the other, "
            "so that all can decide alike; share it in one way"
        )
    return widest


def _configured(model: nn.Module) -> Iterator[Any]:
    """The processes of diffusers' context or tensor parallelism."""
    config = getattr(model, "_parallel_config", None)
    context = getattr(config, "context_parallel_config", None)
    tensor = getattr(config, "tensor_parallel_config", None)
    mesh = getattr(context, "_flattened_mesh", None) or getattr(tensor, "_mesh", None)
    if mesh is not None:
        yield mesh.get_group()


def _holding_weights(model: nn.Module) -> Iterator[Any]:
    """The processes over which weights are spread."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    from torch.distributed.tensor import DTensor

    spread = next((one for one in model.parameters() if isinstance(one, DTensor)), None)
    if spread is not None:
        for dim, placement in enumerate(spread.placements):
            if placement.is_shard():
                yield spread.device_mesh.get_group(dim)


def _ranks(group: Any) -> set[int]:
    return set(dist.get_process_group_ranks(group))


def _size(group: Any) -> int:
    return len(_ranks(group))


def is_first(group: Any) -> bool:
    """Whether this process speaks for a group; without a group it speaks for itself."""
    return group is None or dist.get_rank(group) == 0


def from_first(group: Any, make: Callable[[], T]) -> T:
    """What the first process of a group makes, in all of them. All of them must call this.

    Args:
        group: the processes; None for this one alone.
        make: makes it.
    """
    if group is None:
        return make()
    given: list[Any] = [make() if is_first(group) else None]
    dist.broadcast_object_list(given, dist.get_global_rank(group, 0), group)
    made: T = given[0]
    return made


def any_rank(group: Any, flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process of a group. All of them must call this.

    Args:
        group: the processes.
        flag: this process's answer.
        device: the device that the group communicates with.
    """
    answer = torch.tensor(int(flag), device=device)
    dist.all_reduce(answer, dist.ReduceOp.MAX, group=group)
    return bool(answer.item())
