"""The form of residuals between steps: their device and type."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skipstone.cachers.kernels.operations import quantise
from skipstone.cachers.kernels.reference import Quantised

Kept = Tensor | Quantised
"""A residual, in its computed type or in 8 bits."""

FORMS = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}
"""The 8-bit types, by their names for users."""


@dataclass(frozen=True)
class Storage:
    """Where and how residuals are kept.

    Args:
        device: the device; None for the one that computed them.
        dtype: an 8-bit type; None for the type that the model computes in.
    """

    device: torch.device | None = None
    dtype: torch.dtype | None = None

    def keep(self, residual: Kept) -> Kept:
        """Convert a residual to this form, if it is not in it already."""
        if self.dtype is not None and isinstance(residual, Tensor):
            residual = quantise(residual, self.dtype)
        return residual if self.device is None else residual.to(self.device)


AS_COMPUTED = Storage()
"""No conversion: on the device and in the type that computed them."""


def storage(device: torch.device | None, snapshots: str | None) -> Storage:
    """The storage that a user asks for.

    Args:
        device: the device that keeps residuals; None for the one that computed them.
        snapshots: one of `FORMS`, or None for the type that the model computes in.

    Raises:
        ValueError: there is no such type.
    """
    if snapshots is not None and snapshots not in FORMS:
        known = ", ".join(FORMS)
        raise ValueError(f"snapshots must be one of {known}, or None for the model's type, got {snapshots!r}")
    return Storage(device, None if snapshots is None else FORMS[snapshots])
