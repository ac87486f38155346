"""Run a model once more in the middle of a run, to learn from it: uncompiled, and without leaving a trace."""

from typing import Any

import torch
from torch import nn

from skipstone.pipelines.evaluations.base import Evaluation
from skipstone.pipelines.model.no_trace import no_trace
from skipstone.pipelines.model.outputs import alike, with_own_lists
from skipstone.pipelines.model.spread_weights import gathered
from skipstone.pipelines.model_run import Arguments, ModelCall
from skipstone.pipelines.run.ranks import any_rank


def gives(
    model: nn.Module, present: ModelCall, arguments: Arguments, expected: Any, evaluation: Evaluation[Any]
) -> bool:
    """Whether a model returns an output under another evaluation, in all of its processes.

    Args:
        model: the model.
        present: its call in progress.
        arguments: what to run it with, and those by name.
        expected: the output.
        evaluation: the other evaluation.
    """
    own, present.evaluation = present.evaluation, evaluation
    try:
        right = alike(run_once_more(model, present.memory.device, *arguments), expected)
    except Exception:  # A model may raise anything where its blocks, or parts of its input, are left out.
        right = False
    finally:
        present.evaluation = own
    group = present.memory.group
    return right if group is None else not any_rank(group, not right, present.memory.device)


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
