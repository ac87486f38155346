"""Where a run is: the step, read from the scheduler that drives it."""

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.model.class_swap import Swap, give_subclass
from skipstone.pipelines.run.noise import Level, levels
from skipstone.pipelines.run.samplers import draws_noise


class Clock:
    """Follows a pipeline's scheduler through ``set_timesteps`` and ``step``.

    It needs nothing from the pipeline, so it works for all of them. A scheduler that replaces the one
    followed so far is picked up at the next evaluation.

    Args:
        pipe: the pipeline; its ``scheduler`` is followed.
        on_start: called when a run starts.
        on_step: called after each of the solver's steps with the step taken.

    ``noisy_sampler`` names the scheduler's class where it added new noise on this run's steps.
    """

    def __init__(self, pipe: Any, on_start: Callable[[], None], on_step: Callable[[Step], None]) -> None:
        self._pipe = weakref.ref(pipe)
        self._on_start = on_start
        self._on_step = on_step
        self._scheduler: Any = None
        self._swap: Swap | None = None
        self._timesteps: list[float] = []
        self._sigmas: list[float] = []
        self._levels: list[Level] = []
        self._first: int | None = None
        self._taken = 0
        self._thread: int | None = None
        self.noisy_sampler: str | None = None
        self._follow(pipe.scheduler)

    @property
    def timesteps(self) -> list[float]:
        """The timesteps of the steps that this run executes, as far as known."""
        return self._timesteps[self._first or 0 :]

    @property
    def elsewhere(self) -> bool:
        """Whether the run belongs to another thread than the caller's."""
        return self._thread not in (None, threading.get_ident())

    @property
    def step(self) -> Step | None:
        """The current step, None outside a run."""
        self._notice_new_scheduler()
        if self._first is None:
            self._first = getattr(self._scheduler, "begin_index", None)
        return None if self.finished else self._step(self._taken)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps that this run executes, as far as known."""
        return tuple(self._step(index) for index in range(len(self.timesteps)))

    @property
    def finished(self) -> bool:
        """Whether every step of the run has been taken."""
        return self._taken >= len(self.timesteps)

    def break_off(self) -> None:
        """Take the run for finished."""
        self._taken, self._thread = len(self.timesteps), None

    def stop(self) -> None:
        """Give the scheduler its class back."""
        if self._swap is not None:
            self._swap.undo()
            self._scheduler = self._swap = None

    def _step(self, index: int) -> Step:
        position = (self._first or 0) + index
        sigma = self._sigmas[position] if position < len(self._sigmas) else None
        timestep, level = self._timesteps[position], self._levels[position]
        return Step(index, len(self.timesteps), timestep, sigma, *level)

    def _notice_new_scheduler(self) -> None:
        pipe = self._pipe()
        if pipe is None or pipe.scheduler is self._scheduler:
            return
        self.stop()
        self._follow(pipe.scheduler)
        if getattr(pipe.scheduler, "timesteps", None) is not None:
            self._start()

    def _follow(self, scheduler: Any) -> None:
        cls, clock = type(scheduler), self

        @functools.wraps(cls.set_timesteps)
        def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = cls.set_timesteps(self, *args, **kwargs)
            clock._start()
            return result

        @functools.wraps(cls.step)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            clock._find_first_step(kwargs["timestep"] if "timestep" in kwargs else args[1])
            if draws_noise(self, kwargs):
                clock.noisy_sampler = cls.__name__
            taken = clock.step
            result = cls.step(self, *args, **kwargs)
            if taken is not None and clock._moved_on():
                clock._advance(taken)
            return result

        self._swap = give_subclass(scheduler, {"set_timesteps": set_timesteps, "step": step})
        self._scheduler = scheduler

    def _start(self) -> None:
        self._timesteps = self._scheduler.timesteps.tolist()
        sigmas = getattr(self._scheduler, "sigmas", None)
        self._sigmas = [] if sigmas is None else torch.as_tensor(sigmas).tolist()
        self._levels = levels(self._scheduler, self._timesteps, self._sigmas)
        self._first, self._taken, self._thread = None, 0, threading.get_ident()
        self.noisy_sampler = None
        self._on_start()

    def _find_first_step(self, timestep: Any) -> None:
        """Image-to-image starts late in the schedule: where, the first step's own timestep tells."""
        if self._taken == 0 and self._first is None:
            value = float(timestep)
            self._first = self._timesteps.index(value) if value in self._timesteps else 0

    def _moved_on(self) -> bool:
        """Whether the scheduler took a new step: a pipeline may put its index back and take one again."""
        index = getattr(self._scheduler, "step_index", None)
        return index is None or index > (self._first or 0) + self._taken

    def _advance(self, taken: Step) -> None:
        self._taken += 1
        self._on_step(taken)
