"""The form in which residuals are kept between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skipstone.cachers.kernels.operations import quantise
from skipstone.cachers.kernels.reference import Quantised

Kept = Tensor | Quantised
"""A residual, as it was computed or in 8 bits."""

FORMS = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}
"""The types of 8 bits, by what users call them."""


@dataclass(frozen=True)
class Storage:
    """Where and how residuals are kept.

    Args:
        device: where, None for where they are made.
        dtype: in which type of 8 bits, None for the type that the model computes in.
    """

    device: torch.device | None = None
    dtype: torch.dtype | None = None

    def keep(self, residual: Kept) -> Kept:
        """A residual in that form; one that is in it already stays as it is."""
        if self.dtype is not None and isinstance(residual, Tensor):
            residual = quantise(residual, self.dtype)
        return residual if self.device is None else residual.to(self.device)


AS_COMPUTED = Storage()
"""Where they are made, in the type that the model computes in."""


def storage(device: torch.device | None, snapshots: str | None) -> Storage:
    """What a user asks for.

    Args:
        device: where residuals are kept, None for where they are made.
        snapshots: one of `FORMS`, or None for the type that the model computes in.

    Raises:
        ValueError: another type.
    """
    if snapshots is not None and snapshots not in FORMS:
        known = ", ".join(FORMS)
        raise ValueError(f"snapshots must be one of {known}, or None for the model's type, got {snapshots!r}")
    return Storage(device, None if snapshots is None else FORMS[snapshots])
