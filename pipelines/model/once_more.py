"""Run a model once more in the middle of a run, to learn from it: uncompiled, and without leaving a trace."""

from typing import Any

import torch
from torch import nn

from skipstone.pipelines.model.no_trace import no_trace
from skipstone.pipelines.model.outputs import with_own_lists
from skipstone.pipelines.model.spread_weights import gathered


def run_once_more(model: nn.Module, device: torch.device, args: Any, kwargs: Any) -> Any:
    """The output of one more run of a model on a device, whose weights may be spread over processes."""
    with no_trace(model, device), gathered(model, model):
        return forward(model, args, kwargs)


def forward(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """The output of a model, uncompiled.

    Its hooks do not run: other code may rely on one hook call for each call of the model.
    """
    args, kwargs = with_own_lists((args, kwargs))
    return model.forward(*args, **kwargs)
