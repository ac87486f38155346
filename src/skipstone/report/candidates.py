"""The settings of a method from strict to permissive, and which of them reach a wanted speed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from skipstone.cachers.base import Cacher
from skipstone.cachers.planned import Planned, checked_guard
from skipstone.pipelines.attach import kinds_of
from skipstone.settings import make_method

LADDERS: Mapping[str, Sequence[str]] = {
    "threshold": tuple(f"{0.002 * 2 ** (n / 4):.3g}" for n in range(53)),
    "interval": tuple(str(n) for n in range(2, 21)),
    "spatial": tuple(str(n) for n in range(2, 9)),
    "codebook": ("open-sora-30-slow", "open-sora-30-fast"),
}
"""For each hyper-parameter that trades quality for speed, values from strict to permissive."""


@dataclass(frozen=True)
class Candidate:
    """A method that is to be measured.

    Args:
        name: as `skipstone.attach` takes it.
        fixed: the settings that the user gave, ``key=value`` each.
        rungs: the settings to choose from, strict first; one of no settings where there is nothing to choose.
    """

    name: str
    fixed: tuple[str, ...]
    rungs: tuple[tuple[str, ...], ...]

    @property
    def is_planned(self) -> bool:
        """Whether its settings come from a plan and not from a ladder."""
        return self.name == Planned.name

    @property
    def label(self) -> str:
        return ":".join((self.name, *self.fixed))

    def method(self, rung: int) -> Cacher[Any]:
        return make_method(self.name, self.settings(rung))

    def settings(self, rung: int) -> tuple[str, ...]:
        return (*self.fixed, *self.rungs[rung])


def candidate(text: str) -> Candidate:
    """A method as a report names it: ``teacache``, ``fora+taylor:order=2``, ``first-block:threshold=0.1``.

    What is given is kept; where it leaves open how much to skip, there is a ladder to climb.

    Raises:
        TypeError: a hyper-parameter that the method does not have.
        ValueError: an unknown method, or a value that it refuses.
    """
    name, *fixed = text.split(":")
    kinds = kinds_of(name)
    if name == Planned.name:
        return Candidate(name, _checked_guard(fixed), ())
    given = {setting.partition("=")[0] for setting in fixed}
    known = [field.name for kind in kinds for field in fields(kind)]
    knob = next((knob for knob in LADDERS if knob in known), None)
    rungs: tuple[tuple[str, ...], ...] = ((),)
    if knob is not None and knob not in given:
        rungs = tuple((f"{knob}={value}",) for value in LADDERS[knob])
    found = Candidate(name, tuple(fixed), rungs)
    found.method(0)
    return found


def _checked_guard(fixed: Sequence[str]) -> tuple[str, ...]:
    """The settings that a plan may have.

    Raises:
        ValueError: another one, or a guard that is refused.
    """
    for setting in fixed:
        key = setting.partition("=")[0]
        if key != "guard":
            raise ValueError(f"{Planned.name} takes guard=NUMBER or guard=none, got {setting!r}")
        checked_guard(guard_of((setting,)))
    return tuple(fixed)


def guard_of(settings: Sequence[str]) -> float | None:
    """The guard that settings ask for, the usual one where they ask for none.

    Raises:
        ValueError: it is no number.
    """
    values = [setting.partition("=")[2] for setting in settings if setting.startswith("guard=")]
    if not values:
        return Planned.guard
    return None if values[-1] == "none" else float(values[-1])


def climb(rungs: int, speed: Callable[[int], float], target: float) -> int:
    """The rung whose speed is nearest to a target, by few looks; of equally fast ones the strictest.

    Args:
        rungs: how many there are.
        speed: of a rung, from 0; it does not fall from one rung to the next.
        target: above 0.
    """
    target = min(target, speed(rungs - 1))
    low, high = 0, rungs - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if speed(middle) >= target else (middle + 1, high)
    below = max(0, low - 1)
    return min((below, low), key=lambda rung: abs(math.log(speed(rung) / target)))


def spread(rungs: int, count: int) -> list[int]:
    """So many rungs from the first to the last, evenly spaced; all where there are fewer.

    Args:
        rungs: how many there are.
        count: how many are wanted, from 1.
    """
    if rungs <= count:
        return list(range(rungs))
    return [round(n * (rungs - 1) / max(1, count - 1)) for n in range(count)]
