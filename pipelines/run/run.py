"""One denoising run: its schedule and its present step."""

import weakref
from collections.abc import Sequence
from typing import Any

from skipstone.cachers.contract.async_copy import AsyncCopy
from skipstone.cachers.contract.words import Reason, Step
from skipstone.pipelines.run.conditioning import Conditioning
from skipstone.pipelines.run.continuity import Continuity
from skipstone.pipelines.run.model_time import ModelTime, TimeScale, first_position, frames_apart
from skipstone.pipelines.run.pipeline_calls import PipelineCall
from skipstone.pipelines.run.schedule import Schedule
from skipstone.pipelines.run.stats import RunLog

FRAMES_APART = "parts of a call were at different steps of the run, so it was computed"
ASTRAY = "a call was not at the step that its scheduler was moved to, so all that came after it was computed"


class Run:
    """A trajectory from noise to a sample, driven by a scheduler or by a program's own loop.

    Args:
        schedule: its steps.
        scheduler: the scheduler that drives it, held weakly; None if a program steps by itself.
        call: the pipeline's call that it belongs to, or None.
        context: the thread or task in which it began.
        batch: a number shared by runs that were prepared together.

    ``models`` holds each model's memory of the run, ``log`` its log. ``first`` is the position in the
    schedule at which it begins, and ``count`` its number of steps, both as far as known. ``index`` is the
    present step. ``pending`` tells whether a model was called since the scheduler's last step, and
    ``trusted`` whether calls agreed with the scheduler so far. ``told`` is the step that the next call is in,
    if neither schedulers nor times tell it. ``continuity`` follows what each step leaves to the next one.
    """

    def __init__(
        self,
        schedule: Schedule,
        scheduler: Any = None,
        call: PipelineCall | None = None,
        context: object = None,
        batch: int = 0,
    ) -> None:
        self.schedule = schedule
        self.call = call
        self.context = context
        self.batch = batch
        self.models: dict[str, Any] = {}
        self.log = RunLog({})
        self.index = 0
        self.pending = False
        self.began = False
        self.ended = False
        self.trusted = True
        self.told = 0
        self.driven = False
        self.repeats = False
        self.continuity = Continuity()
        self.is_named = False
        self.is_written_down = False
        self.noisy_sampler: str | None = None
        self._drivers: list[weakref.ref[Any]] = []
        self._planned: int | None = None
        self._taken = False
        self._scale = TimeScale()
        self._unread: list[tuple[int, ModelTime, AsyncCopy]] = []
        self._lay_out(getattr(scheduler, "begin_index", None))
        if scheduler is not None:
            self.drive_by(scheduler)

    @property
    def scheduler(self) -> Any:
        """The first scheduler that drives it, or None."""
        return self._drivers[0]() if self._drivers else None

    @property
    def is_free(self) -> bool:
        """Whether a program steps by itself, without a scheduler."""
        return not self._drivers

    @property
    def steps_itself(self) -> bool:
        """Whether no scheduler moves it. One that a named run found by its times may only have lent them."""
        return self.is_free or (self.is_named and not self.driven)

    @property
    def is_shared(self) -> bool:
        """Whether several schedulers drive it."""
        return len(self._drivers) > 1

    def drives(self, time: ModelTime | None) -> bool:
        """Whether a time is a part of the timesteps that one of its schedulers has set."""
        return self._place(time) is not None

    def knows(self, name: str, given: Conditioning) -> bool:
        """Whether it has called a model with exactly this conditioning."""
        return name in self.models and self.models[name].knows(given)

    def used(self, name: str, given: Conditioning, context: str | None) -> bool:
        """Whether it has done so in its present step, under the pipeline's name for the call."""
        return name in self.models and self.models[name].used(given, context)

    def forget(self, why: Reason = Reason.ASKED_FOR) -> None:
        """Drop everything for reuse, for this reason."""
        for model in self.models.values():
            model.forget(why)

    def is_at(self, time: ModelTime | None) -> bool:
        """Whether its present step has this time, as far as the time can be read."""
        place = self._place(time)
        if place is None and time is not None and time.is_at_hand:
            place = self._index_of(time.bounds[0])
        return place is None or self.schedule.timesteps[place] == self.step.timestep

    def taken_at(self, index: int) -> bool:
        """Whether its scheduler has already taken this step."""
        return self._taken and self.index == index

    def follow(self, schedule: Schedule, scheduler: Any) -> None:
        """Replace the scheduler that drives it."""
        if schedule != self.schedule:
            self.schedule = schedule
            self._lay_out(getattr(scheduler, "begin_index", None))
        if self.is_free:
            self._scale = TimeScale()
        self._drivers = [weakref.ref(scheduler)]

    def serves(self, other: "Run", time: ModelTime | None) -> bool:
        """Whether another run with this time, which nobody has called yet, may have the same steps."""
        if self.drives(time):
            return True
        if len(self.schedule) != other.count or (time is not None and frames_apart(self.schedule, time)):
            return False
        return time is None or first_position(self.schedule, time, self.first) is not None

    def borrow(self, schedule: Schedule) -> None:
        """Take the steps of a schedule that a scheduler has set for another run."""
        self.schedule, self._scale = schedule, TimeScale()
        self._lay_out(None)

    def drive_by(self, scheduler: Any) -> None:
        """Add a scheduler that drives it."""
        self._drivers.append(weakref.ref(scheduler))

    @property
    def step(self) -> Step:
        """The present step."""
        return self.schedule.step(self.first + self.index, self.index, self.count)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of its steps, as far as known."""
        return tuple(self.schedule.step(self.first + n, n, self.count) for n in range(self.count))

    @property
    def timesteps(self) -> Sequence[float]:
        """The times of these steps."""
        return self.schedule.timesteps[self.first : self.first + self.count]

    @property
    def finished(self) -> bool:
        """Whether all steps were taken. A program that steps by itself has done so with its last call."""
        is_taken = self._taken or (self.steps_itself and self.pending)
        return is_taken and self.index >= self.count - 1

    def fits(self, time: ModelTime | None, believed: bool) -> int | None:
        """The step that a call with this time belongs to; None if no step of the run fits.

        Args:
            time: the time in the call; None if the model takes no time.
            believed: whether to trust the scheduler if reading the time would wait for the device.
        """
        possible = self._possible()
        if self.ended or not possible:
            return None
        place = self._place(time)
        if time is None or (place is None and believed and not time.is_at_hand):
            return possible[0]
        if not self.began:
            return None if self._begins_at(time) is None else 0
        if place is not None:
            return next((n for n in possible if self.timesteps[n] == self.schedule.timesteps[place]), None)
        if frames_apart(self.schedule, time):
            self.log.note(FRAMES_APART)
            return None
        found = self._scale.find(self.schedule, time, [self.first + n for n in possible])
        return None if found is None else found - self.first

    def enter(self, index: int, time: ModelTime | None) -> None:
        """Begin a step, as a model is called in it."""
        if not self.began:
            self._begin(time)
        if index != self.index:
            self._taken = False
        self.index, self.pending = index, True
        if self._unread:
            self._look_back()
        if time is not None and not time.is_at_hand and self._place(time) is None:
            self._unread.append((index, time, AsyncCopy(time.on_device)))

    def take(self, time: ModelTime | None) -> bool:
        """Note that a scheduler took a step; return whether the run has moved on.

        A step that is taken again is the same step, for example for the next tile, or by a copy for the next
        frame.
        """
        place = self._place(time)
        if place is None and time is not None and time.is_at_hand:
            place = self._index_of(time.bounds[0])
        # Where a run begins may be seen only from its first step, if the model's time was on a device.
        is_first = self.index == 0 and not self._taken
        if is_first and place is not None and self._first is None:
            self._lay_out(place)
        possible = self._possible()
        if place is not None:
            taken = self.schedule.timesteps[place]
            possible = [n for n in possible if self.timesteps[n] == taken] or possible
        # A time on a device is not read here: the step is that of the call before it.
        was_again = self._taken and (possible[:1] == [self.index] or (place is None and self.pending))
        self.began, self.driven, self.pending = True, True, False
        if not possible or was_again:
            return False
        self.index, self._taken = possible[0], True
        return True

    def turn(self) -> None:
        """Note that a program continues the run, with the next step if it was in one."""
        self._taken |= self.steps_itself and self.pending
        self.pending = False

    def _look_back(self) -> None:
        """Read the times that have arrived since. After a wrong one the run is not trusted."""
        while self._unread and self._unread[0][-1].has_arrived:
            index, time, late = self._unread.pop(0)
            time.take(*late.read())
            if self._scale.find(self.schedule, time, [self.first + index]) is None:
                self.trusted = False
                self.log.note(ASTRAY)

    def count_by_itself(self) -> None:
        """Accept any time, as long as each step has a different one."""
        self._scale = TimeScale({})
        self._lay_out(0)

    def _lay_out(self, first: int | None) -> None:
        """Set the steps from a position in the schedule on; None if the beginning is unknown."""
        self._first, self.first = first, first or 0
        left = len(self.schedule) - self.first
        self.count = left if self._planned is None else min(left, self._planned)

    def _possible(self) -> list[int]:
        """The steps that a call may be in: the next one, or the last one again."""
        now, after = self.index, self.index + 1
        may_move = self.steps_itself and self.began
        possible = [after, now] if self._taken else [now, after] if may_move else [now]
        return possible if after < self.count else [index for index in possible if index < self.count]

    def _place(self, time: ModelTime | None) -> int | None:
        """The position in the schedule of a time that is a part of a scheduler's timesteps."""
        if time is None:
            return None
        for driver in self._drivers:
            place = time.place_in(getattr(driver(), "timesteps", None))
            if place is not None:
                return place
        return None

    def _index_of(self, timestep: float) -> int | None:
        return self.schedule.timesteps.index(timestep) if timestep in self.schedule.timesteps else None

    def _begins_at(self, time: ModelTime) -> int | None:
        """Where in the schedule the run begins, by the time of its first call: late if from an image."""
        if self._scale.takes_any:
            return 0
        self._hear_where_it_begins()
        place = self._place(time)
        if place is None:
            if self.schedule and frames_apart(self.schedule, time):
                self.log.note(FRAMES_APART)
                return None
            place = self._first_position(time)
        same = place is not None and self.timesteps[:1] == self.schedule.timesteps[place : place + 1]
        return self._first if same and self._first is not None else place

    def _first_position(self, time: ModelTime) -> int | None:
        """By its time, or where it should begin if that is in a program's own unit."""
        if not self.schedule:
            return None
        found = first_position(self.schedule, time, self.first)
        return self.first if found is None else found

    def _hear_where_it_begins(self) -> None:
        """Ask its scheduler, which may have been told only after its times were set."""
        if self.scheduler is not None:
            self._lay_out(getattr(self.scheduler, "begin_index", None))

    def _begin(self, time: ModelTime | None) -> None:
        self.began = True
        self._hear_where_it_begins()
        if self.call is not None:
            self._planned = self.call.steps
        begins = self._first
        if time is not None and (time.is_at_hand or self.is_free or self._place(time) is not None):
            begins = self._begins_at(time)
        self._lay_out(self._first if begins is None else begins)
        if time is not None and time.is_at_hand:
            self._scale.find(self.schedule, time, [self.first])
        self.log.planned_steps = self.count
