"""One decision for all processes that share a model."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def process_group(model: nn.Module) -> Any:
    """The processes that hold parts of one evaluation of a model, None where it runs in one.

    They are those of diffusers' ``enable_parallelism``, read anew for each evaluation: it may come after
    attaching. Processes that run the same model on other samples decide for themselves.
    """
    config = getattr(model, "_parallel_config", None)
    context = getattr(config, "context_parallel_config", None)
    tensor = getattr(config, "tensor_parallel_config", None)
    mesh = getattr(context, "_flattened_mesh", None) or getattr(tensor, "_mesh", None)
    return None if mesh is None else mesh.get_group()


def any_rank(group: Any, flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process of a group. All of them must ask.

    Args:
        group: the processes.
        flag: this process's answer.
        device: the one that the group talks through.
    """
    answer = torch.tensor(int(flag), device=device)
    dist.all_reduce(answer, dist.ReduceOp.MAX, group=group)
    return bool(answer.item())
