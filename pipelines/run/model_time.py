"""The time in a model's call, and the step of a schedule that it belongs to."""

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.calls import parameters_of
from skipstone.pipelines.run.schedule import Schedule

NAMES = ("timestep", "timesteps", "t")
"""The names of the time parameter in models."""

Reading = Callable[[Schedule, int], float]


def _sigma(schedule: Schedule, position: int) -> float:
    return schedule.sigmas[position] if position < len(schedule.sigmas) else float("nan")


READINGS: dict[str, Reading] = {
    "time": lambda schedule, n: schedule.timesteps[n],
    "share": lambda schedule, n: schedule.timesteps[n] / schedule.longest,
    "rest": lambda schedule, n: 1 - schedule.timesteps[n] / schedule.longest,
    "reversed": lambda schedule, n: schedule.longest - schedule.timesteps[n],
    "sigma": _sigma,
    "flow": lambda schedule, n: _sigma(schedule, n) / (1 + _sigma(schedule, n)),
}
"""How pipelines convert a scheduler's time before they pass it to the model."""


class ModelTime:
    """The time in one call of a model.

    Args:
        value: a number, or a tensor with one number for the batch, each sample or each token.
    """

    def __init__(self, value: Tensor | float) -> None:
        self.value = value

    @property
    def is_at_hand(self) -> bool:
        """Whether its numbers can be read without waiting for the device."""
        is_near = not isinstance(self.value, Tensor) or self.value.device.type == "cpu"
        return is_near or "bounds" in self.__dict__

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        if not isinstance(self.value, Tensor):
            return float(self.value), float(self.value)
        low, *others = self.on_device.tolist()
        return float(low), float(others[0] if others else low)

    def take(self, low: float, high: float | None = None) -> None:
        """Its bounds, which have arrived from the device."""
        self.__dict__["bounds"] = low, low if high is None else high

    @property
    def on_device(self) -> Tensor:
        """The bounds as a tensor, ``(2,)``, or ``(1,)`` if there is only one number."""
        assert isinstance(self.value, Tensor)
        value = self.value.detach()
        # A single number needs no kernel, and this happens on every step.
        return value.reshape(1) if value.numel() == 1 else torch.stack(value.aminmax())

    @cached_property
    def tolerance(self) -> float:
        """The relative rounding error of its type."""
        if not isinstance(self.value, Tensor) or not self.value.is_floating_point():
            return 1e-6
        # Many pipelines round the time to the model's type, and some convert it to a longer type afterwards.
        kind = torch.bfloat16 if all(map(_is_short, self.bounds)) else self.value.dtype
        return 2 * float(torch.finfo(kind).eps)

    @property
    def cut(self) -> float:
        """The largest error if the number was rounded to a whole number."""
        whole = isinstance(self.value, Tensor) and not self.value.is_floating_point()
        return 1.0 if whole and self.bounds[1] > 1 else 0.0

    def place_in(self, timesteps: Any) -> int | None:
        """The index in a scheduler's timesteps, if the value is a part of that tensor."""
        if not isinstance(self.value, Tensor) or not isinstance(timesteps, Tensor) or timesteps.ndim != 1:
            return None
        if self.value.dtype != timesteps.dtype or self.value.device != timesteps.device:
            return None
        sizes = zip(self.value.shape, self.value.stride(), strict=True)
        if not all(size == 1 or stride == 0 for size, stride in sizes):
            return None
        offset = self.value.data_ptr() - timesteps.data_ptr()
        place = offset // timesteps.element_size()
        inside = 0 <= place < len(timesteps) and offset % timesteps.element_size() == 0
        return place if inside else None


def model_time(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModelTime | None:
    """The time among a model's arguments; None if it takes none."""
    names = parameters_of(model)
    for name in NAMES:
        value = kwargs.get(name)
        if value is None and name in names and names.index(name) < len(args):
            value = args[names.index(name)]
        if isinstance(value, (Tensor, int, float)):
            return ModelTime(value)
    return None


class TimeScale:
    """How a model's time follows from the scheduler's in one run: the conversions that fitted so far.

    Args:
        readings: the conversions that are still possible; none for a program's own unit.
    """

    def __init__(self, readings: Mapping[str, Reading] = READINGS) -> None:
        self._readings = dict(readings)
        self._is_known = False
        self._own: dict[int, tuple[float, float]] = {}

    @property
    def takes_any(self) -> bool:
        """Whether the times are a program's own, of which only their order is known."""
        return not self._readings

    def find(self, schedule: Schedule, time: ModelTime, positions: Iterable[int]) -> int | None:
        """The first of some positions in a schedule that has this time; None if none has.

        If no conversion ever fitted, as with a pipeline's own unit, a position is accepted as long as no
        other one had the same numbers.
        """
        positions = list(positions)
        for position in positions:
            right = {n: r for n, r in self._readings.items() if _matches(r(schedule, position), time)}
            if right:
                self._readings, self._is_known = right, True
                return position
        return None if self._is_known else self._in_own_unit(time, positions)

    def _in_own_unit(self, time: ModelTime, positions: list[int]) -> int | None:
        given = {bounds: position for position, bounds in self._own.items()}
        for position in positions:
            is_new_or_same = self._own.get(position, time.bounds) == time.bounds
            if is_new_or_same and given.get(time.bounds, position) == position:
                self._own[position] = time.bounds
                return position
        return None


def first_position(schedule: Schedule, time: ModelTime, announced: int) -> int | None:
    """The position in a schedule at which a run begins, by the time of its first call; None if it has none.

    Usual conversions are tried first, since a time can fit several of them.

    Args:
        schedule: the schedule.
        time: the time in the call.
        announced: where the run should begin.
    """
    everywhere = ((reading, n) for reading in READINGS.values() for n in range(len(schedule)))
    there = ((reading, announced) for reading in READINGS.values())
    right = (n for reading, n in (*there, *everywhere) if _matches(reading(schedule, n), time))
    return next(right, None)


def frames_apart(schedule: Schedule, time: ModelTime) -> bool:
    """Whether parts of one call are at different steps, like frames in diffusion forcing.

    Tokens that are kept clean have their own time, which is not a step of the schedule, or is its end.
    """
    low, high = time.bounds
    if low == high:
        return False
    for reading in READINGS.values():
        at = [reading(schedule, n) for n in range(len(schedule))]
        if low > 0 and all(any(_close(one, bound, time) for one in at) for bound in (low, high)):
            return True
    return False


def _is_short(number: float) -> bool:
    """Whether a number is one of bfloat16: a float32 whose last two bytes are zero."""
    try:
        single = struct.pack("<f", number)
    except OverflowError:
        return False
    return single[:2] == b"\0\0" and struct.unpack("<f", single)[0] == number


def _matches(expected: float, time: ModelTime) -> bool:
    return any(_close(expected, bound, time) for bound in time.bounds)


def _close(expected: float, bound: float, time: ModelTime) -> bool:
    # If all numbers are shares of 1, a small one was rounded together with its large complement.
    scale = max(abs(expected), abs(bound), 1.0 if abs(bound) <= 1 else 0.0)
    return abs(expected - bound) <= max(time.tolerance * scale, time.cut)
