"""T-GATE: cross attention to the text matters in the first steps only, so it is frozen after them."""

from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.per_layer import LayerRule, PerLayer
from skipstone.cachers.contract.words import Layer, LayerKind, Reason, Step
from skipstone.declared import Natural, Positive


@dataclass(frozen=True)
class Frozen(LayerRule):
    """Compute up to a step, and never after it."""

    gate: int

    def reason(self, step: Step) -> str | None:
        return Reason.WARM_UP if step.index < self.gate else None


@dataclass(frozen=True)
class TwoPhases(LayerRule):
    """Compute every few steps, with one interval before the gate and another one after it."""

    gate: int
    interval: int
    interval_after: int
    warmup: int

    def reason(self, step: Step) -> str | None:
        if step.index <= self.warmup and step.index < self.gate:
            return Reason.WARM_UP
        if step.index == self.gate - 1:
            return Reason.INTERVAL
        interval = self.interval if step.index < self.gate else self.interval_after
        return Reason.INTERVAL if step.index % interval == 0 else None


@dataclass(frozen=True)
class TGate(PerLayer):
    """Freeze cross attention from a step on, and compute self attention every few steps before it.

    Use: on models with cross attention to the text.
    Source: T-GATE, arXiv:2404.02747, https://github.com/HaozheLiu-ST/T-GATE.
    Difference: each guidance branch freezes its own cross attention. The original takes the mean of both and
    stops guidance after the gate; that decision belongs to the pipeline, not to a cache.

    Args:
        gate: how many steps at the start of the run compute cross attention, from 1. The original uses 10 of
            25.
        interval: steps from one computed self attention to the next before the gate, from 1.
        interval_after: the same after the gate; 1 computes it on every step.
        warmup: before this step, counted from 0, every step computes self attention.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "tgate"
    # Before the gate the official interval of 5 stays; as in the original, it is at 10 of 25 steps.
    ladder = rungs(gate=[20] * 20, interval_after=range(1, 21))

    gate: Positive = 10
    interval: Positive = 5
    interval_after: Positive = 1
    warmup: Natural = 2

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        if layer.kind is LayerKind.CROSS_ATTENTION:
            return Frozen(self.gate)
        return TwoPhases(self.gate, self.interval, self.interval_after, self.warmup)
