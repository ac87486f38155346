"""What all processes that share a model must agree on."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


_told: "weakref.WeakKeyDictionary[nn.Module, Any]" = weakref.WeakKeyDictionary()
"""The processes that a program has named, by the models that they share."""


def shared_by(model: nn.Module, group: Any) -> None:
    """Say which processes share a model, for programs that share it in a way of their own.

    Args:
        model: the model.
        group: the processes, all of which call the model on each step; None for this one alone.
    """
    if group is not None:
        _told[model] = group


def process_group(model: nn.Module) -> Any:
    """The processes that share one evaluation of a model; None if a single process runs it.

    They come from diffusers' ``enable_parallelism``, from weights that ``fully_shard`` has spread, and from
    `shared_by`. All may follow after attaching, so they are read for each run. Processes that run the model
    on other samples, with all weights of their own, decide for themselves.

    Raises:
        ValueError: it is shared in two ways, by processes of which none share it in both.
    """
    shared = (_told.get(model), token_group(model), _tensor_parallel(model), *_holding_weights(model))
    groups = [group for group in shared if group is not None]
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


def group_of(models: Iterable[nn.Module]) -> Any:
    """The processes that share a pipeline's models; None if a single process runs them."""
    groups = (process_group(model) for model in models)
    return next((group for group in groups if group is not None), None)


def token_group(model: nn.Module) -> Any:
    """The processes that each hold a part of the tokens, in their order; None if this one has all."""
    context = getattr(_config(model), "context_parallel_config", None)
    mesh = getattr(context, "_flattened_mesh", None)
    return None if mesh is None else mesh.get_group()


def _tensor_parallel(model: nn.Module) -> Any:
    tensor = getattr(_config(model), "tensor_parallel_config", None)
    mesh = getattr(tensor, "_mesh", None)
    return None if mesh is None else mesh.get_group()


def _config(model: nn.Module) -> Any:
    """What diffusers' ``enable_parallelism`` has set."""
    return getattr(model, "_parallel_config", None)


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


def of_all(group: Any, value: T) -> list[T]:
    """What each process of a group has, in their order. All of them must call this.

    Args:
        group: the processes; None for this one alone.
        value: what this process has.
    """
    if group is None:
        return [value]
    given: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(given, value, group)
    return given


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
