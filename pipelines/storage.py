"""The form in which residuals are kept between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skipstone.cachers.kernels.operations import quantise
from skipstone.cachers.kernels.reference import Quantised

Kept = Tensor | Quantised
"""A residual, as it was computed or in fp8."""


@dataclass(frozen=True)
class Storage:
    """Where and how residuals are kept.

    Args:
        device: where, None for where they are made.
        in_fp8: whether in fp8 with scales, which takes half of the memory of 16 bits.
    """

    device: torch.device | None = None
    in_fp8: bool = False

    def keep(self, residual: Kept) -> Kept:
        """A residual in that form; one that is in it already stays as it is."""
        if self.in_fp8 and isinstance(residual, Tensor):
            residual = quantise(residual)
        return residual if self.device is None else residual.to(self.device)


AS_COMPUTED = Storage()
"""Where they are made, in the type that the model computes in."""


def storage(device: torch.device | None, snapshots: str | None) -> Storage:
    """What a user asks for.

    Args:
        device: where residuals are kept, None for where they are made.
        snapshots: ``fp8``, or None for the type that the model computes in.

    Raises:
        ValueError: another type.
    """
    if snapshots not in (None, "fp8"):
        raise ValueError(f"snapshots must be 'fp8', or None for the model's own type, got {snapshots!r}")
    return Storage(device, snapshots == "fp8")
