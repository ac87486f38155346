"""A method, and what its checks must know of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Probe, Site
from skipstone.cachers.wrappers.limits import Tail

SEEN_EARLY = (Probe.NONE, Probe.TIME_EMBEDDING, Probe.TIME_PROJECTION)
"""What does not depend on what a model computes."""

FOREVER = 10**9
"""More steps than any run has."""

RUNGS = 5
"""How many settings of a ladder are tried."""


@dataclass(frozen=True)
class Case:
    """A method to check.

    Args:
        method: in a setting that skips wherever its rules allow.
        off: in a setting that computes every step; by default the same one, with every step forced.
        first: how many first steps the rules compute, None if that is not known.
        last: how many last ones.
        series: settings that compute ever fewer steps; by default five of its ladder.
    """

    method: Cacher[Any]
    off: Cacher[Any] | None = None
    first: int | None = None
    last: int = 0
    series: Sequence[Cacher[Any]] = ()

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def computing(self) -> Cacher[Any]:
        """What computes every step."""
        return Tail(self.method, steps=FOREVER) if self.off is None else self.off

    @property
    def settings(self) -> Sequence[Cacher[Any]]:
        """From strict to permissive; the method alone where no others are known."""
        rungs = type(self.method).ladder
        chosen = rungs[:: max(1, (len(rungs) - 1) // (RUNGS - 1))]
        return self.series or [replace(self.method, **rung) for rung in chosen] or [self.method]

    @property
    def skipped(self) -> str:
        """How the strip of a run shows a step that was skipped as far as the method can."""
        return "+" if self.method.site is Site.LAYER else "."

    @property
    def sees_the_step(self) -> bool:
        """Whether it looks at what the model is given on the very step that it decides on."""
        return self.method.probe not in SEEN_EARLY

    @property
    def sees(self) -> bool:
        """Whether it looks at anything that the model is given or computes."""
        return self.sees_the_step or self.method.watches_attention
