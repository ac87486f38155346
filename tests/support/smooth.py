"""Series of values that a plan can be made for."""

import numpy as np

from skipstone.schedules.moments import Floats


def smooth(steps: int, seed: int = 0, coordinates: int = 64, batch: int = 1) -> Floats:
    """Values that run smoothly through the steps, ``(steps, batch, coordinates)``."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, steps)[:, None, None]
    rate, phase = random.uniform(0.3, 4, (batch, coordinates)), random.uniform(0, 6, (batch, coordinates))
    return np.sin(rate * time + phase)
