"""The steps that a scheduler has set."""

from dataclasses import dataclass
from typing import Any

import torch

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.run.noise import Level, levels


@dataclass(frozen=True)
class Schedule:
    """The times and noise levels of a scheduler's steps, as plain numbers.

    Args:
        timesteps: the solver's time at each step, in the scheduler's own unit.
        sigmas: the noise level at each step; empty without any.
        levels: signal and noise at each step.
        longest: the scheduler's largest time, which is the number of its training steps.
    """

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...] = ()
    levels: tuple[Level, ...] = ()
    longest: float = 1000.0

    @classmethod
    def of(cls, scheduler: Any) -> "Schedule":
        """The schedule that a scheduler has set. Reading it waits for the device, once for each run."""
        timesteps = scheduler.timesteps.tolist()
        found = getattr(scheduler, "sigmas", None)
        sigmas = [] if found is None else torch.as_tensor(found).tolist()
        longest = float(scheduler.config.get("num_train_timesteps") or 1000)
        return cls(tuple(timesteps), tuple(sigmas), tuple(levels(scheduler, timesteps, sigmas)), longest)

    @classmethod
    def counted(cls, steps: int) -> "Schedule":
        """A schedule of which only the number of steps is known."""
        times = tuple(1000 * (1 - index / steps) for index in range(steps))
        return cls(times, levels=((None, None),) * steps)

    def __len__(self) -> int:
        return len(self.timesteps)

    def step(self, position: int, index: int, count: int) -> Step:
        """A step of a run.

        Args:
            position: its position in the schedule.
            index: its position in the run.
            count: how many steps the run has.
        """
        sigma = self.sigmas[position] if position < len(self.sigmas) else None
        return Step(index, count, self.timesteps[position], sigma, *self.levels[position])
