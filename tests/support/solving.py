"""A toy pipeline that solves: its latents follow from what the model returns."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from support.toy import ToyModel, ToyPipeline

STEPS = 10


class Solving(ToyPipeline):
    """Takes the scheduler's steps with what the toy returns, ``1 + 6 * temb``, a line in the step.

    Args:
        scheduler: the scheduler.
        begin: the first of its steps, as in runs from an image.
        rest: how many of its last steps are left to another model.
        tiles: how often each step is taken.
        given: keyword arguments of each step.
    """

    def __init__(self, scheduler: Any, begin: int = 0, rest: int = 0, tiles: int = 1, **given: Any) -> None:
        super().__init__(ToyModel())
        self.scheduler, self.begin, self.rest, self.tiles, self.given = scheduler, begin, rest, tiles, given

    @torch.no_grad()
    def __call__(self, *args: Any, steps: int = STEPS, **kwargs: Any) -> list[Tensor]:
        latents, slope = torch.randn(2, 1, 64, 8, generator=torch.Generator().manual_seed(0))
        self.scheduler.set_timesteps(steps + self.begin + self.rest)
        if self.begin:
            self.scheduler.set_begin_index(self.begin)
        times = self.scheduler.timesteps[self.begin : len(self.scheduler.timesteps) - self.rest]
        self._num_timesteps = len(times)
        for n, time in enumerate(times):
            if hasattr(self.scheduler, "scale_model_input"):
                self.scheduler.scale_model_input(latents, time)
            output = self.transformer(torch.ones_like(slope), temb=(0.5 + n / steps) * slope)
            for _ in range(self.tiles):
                if self.tiles > 1:
                    self.scheduler._step_index = self.begin + n
                latents = self.solve(output, time, latents)
        return [latents[None]]

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        made = self.scheduler.step(output, time, latents, **self.given)
        result: Tensor = made[0] if isinstance(made, tuple) else made.prev_sample
        return result

    @torch.no_grad()
    def request(self, cache: Any, seed: int) -> Iterator[Tensor]:
        """The latents after each step of a named run with a scheduler of its own, which may take turns."""
        latents, slope = torch.randn(2, 1, 64, 8, generator=torch.Generator().manual_seed(seed))
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(STEPS)
        for n, time in enumerate(scheduler.timesteps):
            with cache.run(seed, steps=STEPS):
                output = self.transformer(torch.ones_like(slope), temb=(0.5 + n / STEPS) * slope)
                latents = scheduler.step(output, time, latents, return_dict=False)[0]
            yield latents
