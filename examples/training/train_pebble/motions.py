"""Where a sprite is at every time: through one clip, for ever, or standing."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from captions import MOTIONS
from torch import Tensor

Places = dict[str, tuple[Tensor, ...]]
"""By the motion's name: offset x, y in pixels, turn in radians, scale."""

GROWTH, RETURN = 1.0, 0.25
"""How long what grows for ever grows, and how long it takes to be small again."""


def through_a_clip(time: Tensor) -> Places:
    """Every motion at every time in [0, 1]."""
    zero, one, turn = torch.zeros_like(time), torch.ones_like(time), 2 * math.pi * time
    travel = 88 * time - 44
    return {
        "bounces": (zero, 26 - 58 * (1.5 * turn).sin().abs(), zero, one),
        "slides left": (-travel, zero, zero, one),
        "slides right": (travel, zero, zero, one),
        "spins": (zero, zero, turn, one),
        "rolls": (travel, zero, turn, one),
        "grows": (zero, zero, zero, 0.35 + 0.8 * time),
        "shrinks": (zero, zero, zero, 1.15 - 0.8 * time),
        "orbits": (30 * turn.cos(), 30 * turn.sin(), zero, one),
        "falls": (zero, 112 * time**2 - 56, zero, one),
        "shakes": (9 * (5 * turn).sin(), zero, zero, one),
    }


def for_ever(time: Tensor) -> Places:
    """Every motion at every time from 0 on: the same speeds, but what falls does so ever more evenly."""
    zero, one = torch.zeros_like(time), torch.ones_like(time)
    travel, phase = 88 * time - 20, time % (GROWTH + RETURN)
    fallen = time - (1 - (-3 * time).exp()) / 3
    grown = torch.minimum(phase / GROWTH, (GROWTH + RETURN - phase) / RETURN)
    return through_a_clip(time) | {
        "slides left": (-travel, zero, zero, one),
        "slides right": (travel, zero, zero, one),
        "rolls": (travel, zero, 2 * math.pi * time, one),
        "grows": (zero, zero, zero, 0.35 + 0.8 * grown),
        "shrinks": (zero, zero, zero, 1.15 - 0.8 * grown),
        "falls": (zero, 150 * fallen - 30, zero, one),
    }


def nowhere(time: Tensor) -> Places:
    """No motion at any time."""
    zero, one = torch.zeros_like(time), torch.ones_like(time)
    return dict.fromkeys(MOTIONS, (zero, zero, zero, one))


@dataclass(frozen=True)
class Dance:
    """How sprites move.

    Args:
        places: where they are, by motion and time.
        returning: the motions that leave the picture on one side and come back on the other.
    """

    places: Callable[[Tensor], Places]
    returning: frozenset[str] = frozenset()

    def paths(self, time: Tensor) -> Tensor:
        """Every motion at every time: offset x, y, turn, scale in the last axis."""
        places = self.places(time)
        return torch.stack([torch.stack(places[name], -1) for name in MOTIONS])

    def returns(self, device: torch.device) -> Tensor:
        """Whether each motion is returning."""
        return torch.tensor([name in self.returning for name in MOTIONS], device=device)


CLIP, STILL = Dance(through_a_clip), Dance(nowhere)
ENDLESS = Dance(for_ever, frozenset({"slides left", "slides right", "rolls", "falls"}))
