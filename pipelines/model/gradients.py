"""Whether gradients are recorded through a model."""

from typing import Any

import torch
from torch import nn

from skipstone.pipelines.model.outputs import floats_in


def records_gradients(model: nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether a call's output could be asked for gradients.

    Args:
        model: the model.
        args: the positional arguments of the call.
        kwargs: the keyword arguments of the call.
    """
    if not torch.is_grad_enabled():
        return False
    given = any(tensor.requires_grad for tensor in floats_in([args, kwargs]))
    return given or any(parameter.requires_grad for parameter in model.parameters())
