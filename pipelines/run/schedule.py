"""The steps that a scheduler has set."""

from dataclasses import dataclass
from typing import Any

import torch

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.run.noise import Level, end_time, flow_time, levels


@dataclass(frozen=True)
class Schedule:
    """The times and noise levels of a scheduler's steps, as plain numbers.

    Args:
        timesteps: the solver's time at each step, in the scheduler's own unit.
        sigmas: the noise level at each step; empty without any.
        levels: signal and noise at each step.
        end: the flow time after the last step.
        longest: the scheduler's largest time, which is the number of its training steps.
    """

    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...] = ()
    levels: tuple[Level, ...] = ()
    end: float = 0.0
    longest: float = 1000.0

    @classmethod
    def of(cls, scheduler: Any) -> "Schedule":
        """The schedule that a scheduler has set. Reading it waits for the device, once for each run."""
        timesteps = scheduler.timesteps.tolist()
        found = getattr(scheduler, "sigmas", None)
        sigmas = [] if found is None else torch.as_tensor(found).tolist()
        longest = float(scheduler.config.get("num_train_timesteps") or 1000)
        known, end = levels(scheduler, timesteps, sigmas), end_time(scheduler, len(timesteps), sigmas)
        return cls(tuple(timesteps), tuple(sigmas), tuple(known), end, longest)

    @classmethod
    def counted(cls, steps: int) -> "Schedule":
        """A schedule of which only the number of steps is known."""
        times = tuple(1000 * (1 - index / steps) for index in range(steps))
        return cls(times, levels=((None, None),) * steps)

    def __len__(self) -> int:
        return len(self.timesteps)

    def time_after(self, position: int) -> float | None:
        """The flow time of the latents after the step at a position; None if it is not known."""
        return self.end if position + 1 == len(self) else flow_time(self.levels[position + 1])

    def step(self, position: int, index: int, count: int) -> Step:
        """A step of a run.

        Args:
            position: its position in the schedule.
            index: its position in the run.
            count: how many steps the run has.
        """
        sigma = self.sigmas[position] if position < len(self.sigmas) else None
        return Step(index, count, self.timesteps[position], sigma, *self.levels[position])
