"""Let checks fail with a sentence, also without a test runner that rewrites assertions."""

import torch
from torch import Tensor


def expect(condition: bool, otherwise: str) -> None:
    """Fail with a sentence unless a condition holds.

    Raises:
        AssertionError: the condition does not hold.
    """
    if not condition:
        raise AssertionError(otherwise)


def expect_equal(found: Tensor, wanted: Tensor, otherwise: str) -> None:
    """Fail unless two tensors are the same to the last bit."""
    if not torch.equal(found, wanted):
        far = (found.float() - wanted.float()).abs().max().item()
        raise AssertionError(f"{otherwise} (by up to {far:g})")
