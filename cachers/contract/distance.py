"""How far a probe has moved since it was last looked at."""

import torch
from torch import Tensor

from skipstone.cachers.kernels import operations


def mean_l1(current: Tensor, reference: Tensor | None = None) -> Tensor:
    """Mean absolute difference of each sample, ``(batch,)``; mean absolute value without a reference.

    The means accumulate in float32.
    """
    difference = current if reference is None else current - reference
    return difference.abs().flatten(1).mean(1, dtype=torch.float32)


def relative_l1(current: Tensor, reference: Tensor) -> float:
    """Mean absolute change over mean absolute reference, of the sample in the batch that changed most.

    Judging by the worst sample keeps one prompt of a batch from deciding for another. Reading the result is a
    gate's only GPU synchronisation.

    Args:
        current: ``(batch, ...)``.
        reference: the same shape.

    Returns:
        The ratio; NaN or infinity when the reference is zero or anything is not finite.
    """
    return operations.distance(current, reference).max().item()
