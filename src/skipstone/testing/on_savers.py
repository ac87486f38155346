"""What a guidance saver must do by itself."""

import torch

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.words import Step
from skipstone.testing.expect import expect

STEPS = 20


def the_parts_add_up_to_the_difference(saver: Guidance) -> None:
    """What is kept of a difference is all of it, in float32."""
    difference = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    parts = saver.split(difference.clone())
    off = (torch.stack(list(parts)).sum(0) - difference).abs().max().item()
    expect(off < 1e-5, f"the parts of a difference do not add up to it (they are off by {off:g})")


def every_part_has_a_weight(saver: Guidance) -> None:
    """On every step."""
    parts = len(saver.split(torch.zeros(1, 4, 8, 12)))
    for n in range(STEPS):
        weights = len(saver.weights(Step(n, STEPS, 1000.0 * (STEPS - n) / STEPS)))
        expect(weights == parts, f"{parts} parts, but {weights} weights on step {n} of {STEPS}")


CHECKS = (the_parts_add_up_to_the_difference, every_part_has_a_weight)
