"""The settings of a method from strict to permissive, and which of them reach a target speed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import Rung
from skipstone.cachers.make import kinds_of, name_of
from skipstone.cachers.planned import Planned
from skipstone.settings import make_method, typed

FITTED = "fitted"
"""This word as a setting asks for the method's constants to be measured on the first prompt."""


@dataclass(frozen=True)
class Candidate:
    """A method to measure.

    Args:
        name: as `skipstone.attach` takes it.
        fixed: the user's settings, each one ``key=value``.
        rungs: the settings to choose from, strictest first; a single empty one if there is no choice.
        measured: for each rung the hyper-parameters that were measured on the model; may be empty.
    """

    name: str
    fixed: tuple[str, ...]
    rungs: tuple[tuple[str, ...], ...]
    measured: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_planned(self) -> bool:
        """Whether its settings come from a plan and not from a ladder."""
        return self.name == Planned.name

    @property
    def is_fitted(self) -> bool:
        """Whether its constants are measured on the model."""
        return FITTED in self.fixed

    @property
    def label(self) -> str:
        return ":".join((self.name, *self.fixed))

    def method(self, rung: int) -> Cacher[Any]:
        measured = self.measured[rung] if self.measured else {}
        typed = [setting for setting in self.settings(rung) if _key(setting) not in (FITTED, *measured)]
        return make_method(self.name, typed, measured)

    @property
    def refusal(self) -> str:
        """Why the method refuses its settings; empty if it takes them.

        Raises:
            TypeError: the method has no such hyper-parameter.
        """
        if self.is_planned:
            return ""
        try:
            self.method(0)
        except ValueError as error:
            return str(error)
        return ""

    def usual(self, settings: Sequence[str]) -> Cacher[Any]:
        """The method with its measured constants, and otherwise these settings or its defaults."""
        # Codebooks are measured at several scales, of which the middle one is 1.
        measured = self.measured[len(self.measured) // 2]
        return make_method(self.name, settings, measured)

    def settings(self, rung: int) -> tuple[str, ...]:
        return (*self.fixed, *self.rungs[rung])


def candidate(text: str) -> Candidate:
    """Parse a method of a report: ``teacache``, ``fora+taylor:order=2`` or ``first-block:threshold=0.1``.

    Settings after a colon are fixed. If they leave open how much to skip, the method's ladder offers
    settings.

    Raises:
        ValueError: an unknown method, or one without settings to choose from.
    """
    name, *fixed = text.split(":")
    kinds, name = kinds_of(name), name_of(name)
    if name == Planned.name:
        if fixed:
            raise ValueError(f"{name} has no settings, got {fixed[0]!r}: leave it out")
        return Candidate(name, (), ())
    method, ladder = kinds[0], [_typed(rung) for rung in kinds[0].ladder]
    if fields(method) and not ladder and not fixed:
        raise ValueError(
            f"{name} does not say which settings to choose from: give one, as in {name}:"
            f"{fields(method)[0].name}=..., or declare a ladder in {method.__name__}"
        )
    return Candidate(name, tuple(fixed), _open(ladder, fixed))


def _typed(rung: Rung) -> tuple[str, ...]:
    """A rung as typed on the command line."""
    return tuple(f"{name}={typed(value)}" for name, value in rung.items())


def _open(ladder: Sequence[Sequence[str]], fixed: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The rungs without the hyper-parameters that the user has fixed; a single empty one if none are left."""
    given = {_key(setting) for setting in fixed}
    rungs = (tuple(setting for setting in rung if _key(setting) not in given) for rung in ladder)
    return tuple(dict.fromkeys(rungs)) or ((),)


def _key(setting: str) -> str:
    return setting.partition("=")[0]


def climb(rungs: int, speed: Callable[[int], float], target: float) -> int:
    """Find the rung whose speed is nearest to a target, by bisection; of equally fast ones the strictest.

    Args:
        rungs: how many rungs there are.
        speed: returns the speed of a rung, counted from 0; it never falls from one rung to the next.
        target: the target speed, above 0.
    """
    target = min(target, speed(rungs - 1))
    low, high = 0, rungs - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if speed(middle) >= target else (middle + 1, high)
    below = max(0, low - 1)
    return min((below, low), key=lambda rung: abs(math.log(speed(rung) / target)))


def rungs_for(rungs: int, speed: Callable[[int], float], targets: Sequence[float]) -> list[int]:
    """Find a rung for each target; if some are out of reach, for as many speeds that can be reached.

    If two targets have the same rung, the second one takes the next rung if that is faster.

    Args:
        rungs: how many rungs there are.
        speed: as of `climb`.
        targets: above 1.
    """
    last, chosen = speed(rungs - 1), list[int]()
    for target in within(targets, last):
        rung = climb(rungs, speed, target)
        if chosen and rung <= chosen[-1]:
            rung = min(chosen[-1] + 1, rungs - 1)
        if not chosen or speed(rung) > speed(chosen[-1]):
            chosen.append(rung)
    return chosen


def most_looks(rungs: int, targets: int) -> int:
    """How many rungs `rungs_for` looks at, at most: the last one, and each target's bisection."""
    if rungs == 1:
        return 1
    return min(rungs, 1 + targets * (math.ceil(math.log2(rungs)) + 2))


def within(targets: Sequence[float], last: float) -> list[float]:
    """The targets, rising. If one is above the highest speed: as many, spread evenly up to that speed.

    Args:
        targets: above 1.
        last: the highest speed.
    """
    if max(targets) <= last:
        return sorted(targets)
    return [last ** ((n + 1) / len(targets)) for n in range(len(targets))]
