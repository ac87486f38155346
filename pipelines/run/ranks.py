"""A common decision of all processes that share a model."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def process_group(model: nn.Module) -> Any:
    """The processes that share one evaluation of a model; None if a single process runs it.

    They come from diffusers' ``enable_parallelism``, which may follow after attaching, so they are read for
    each evaluation. Processes that run the model on other samples decide for themselves.
    """
    config = getattr(model, "_parallel_config", None)
    context = getattr(config, "context_parallel_config", None)
    tensor = getattr(config, "tensor_parallel_config", None)
    mesh = getattr(context, "_flattened_mesh", None) or getattr(tensor, "_mesh", None)
    return None if mesh is None else mesh.get_group()


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
