"""How far a probe has moved."""

import torch
from torch import Tensor

from skipstone.cachers.kernels import operations


def mean_l1(current: Tensor, reference: Tensor | None = None) -> Tensor:
    """The mean absolute difference of each sample, ``(batch,)``; without a reference the mean absolute value.

    The means accumulate in float32.
    """
    difference = current if reference is None else current - reference
    return difference.abs().flatten(1).mean(1, dtype=torch.float32)


def relative_l1(current: Tensor, reference: Tensor) -> float:
    """The mean absolute change over the mean absolute reference, of the sample that changed most.

    The worst sample decides, so that no prompt of a batch is skipped because of another one. Reading the
    result is a method's only GPU synchronisation.

    Args:
        current: ``(batch, ...)``.
        reference: the same shape.

    Returns:
        The ratio; NaN or infinity if the reference is zero or any value is not finite.
    """
    return operations.distance(current, reference).max().item()
