"""A method, and what its checks need to know."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.words import Site
from skipstone.cachers.fora import FORA
from skipstone.cachers.wrappers.limits import Tail
from skipstone.cachers.wrappers.with_guidance import WithGuidance
from skipstone.cachers.wrappers.with_predictor import WithPredictor

FOREVER = 10**9
"""More steps than any run has."""

RUNGS = 5
"""How many settings of a ladder are checked."""


@dataclass(frozen=True)
class Case:
    """A method to check.

    Args:
        method: the method, in a setting that skips wherever its rules allow.
        off: the method in a setting that computes every step; by default ``method`` with every step forced.
        first: how many first steps the rules compute; None if unknown.
        last: how many last steps the rules compute.
        series: settings that compute fewer and fewer steps; by default five of the method's ladder.
        repeats: whether estimates are exact if the model's input does not change. False for a method whose
            kept values fade.
    """

    method: Cacher[Any]
    off: Cacher[Any] | None = None
    first: int | None = None
    last: int = 0
    series: Sequence[Cacher[Any]] = ()
    repeats: bool = True

    @property
    def name(self) -> str:
        return self.method.name

    @property
    def computing(self) -> Cacher[Any]:
        """The method that computes every step."""
        return Tail(self.method, steps=FOREVER) if self.off is None else self.off

    @property
    def settings(self) -> Sequence[Cacher[Any]]:
        """The settings from strict to permissive; only the method itself if no others are known."""
        rungs = type(self.method).ladder
        chosen = rungs[:: max(1, (len(rungs) - 1) // (RUNGS - 1))]
        return self.series or [replace(self.method, **rung) for rung in chosen] or [self.method]

    @property
    def skipped(self) -> str:
        """The mark in a run's strip of a step that was skipped as far as the method can."""
        return "+" if self.method.site is Site.LAYER else "."

    @property
    def sees_the_step(self) -> bool:
        """Whether it looks at the model's input on the step that it decides on."""
        return self.method.probe.sees_the_sample

    @property
    def sees(self) -> bool:
        """Whether it looks at anything that the model gets or computes."""
        return self.sees_the_step or self.method.watches_attention


Checked = Cacher[Any] | Predictor | Guidance | Case
"""What can be checked."""


def case_of(method: Checked) -> Case:
    """The case of a method, or of one that uses a predictor on every other step or a guidance saver."""
    if isinstance(method, Predictor):
        return Case(WithPredictor(FORA(2), method))
    if isinstance(method, Guidance):
        return Case(WithGuidance(FORA(1), method), repeats=False)
    return method if isinstance(method, Case) else Case(method)
