"""FasterCache: attention goes on as it went, and guidance too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from skipstone.cachers.cfg_cache import CFGCache, Raised
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.per_layer import LayerRule, PerLayer
from skipstone.cachers.contract.words import Layer, LayerKind, Reason, Step
from skipstone.declared import Positive, Share


@dataclass(frozen=True)
class DynamicReuse(LayerRule):
    """Compute every few steps, and extrapolate from the last two computed outputs with a rising weight."""

    history = 2

    start: float
    interval: int
    weight: float
    guidance: Guidance | None = None

    def reason(self, step: Step) -> str | None:
        if step.index < self.start * step.count:
            return Reason.WARM_UP
        if step.index % self.interval == 0 or self._catches_up(step):
            return Reason.INTERVAL
        return None

    def weights(self, step: Step, computed: Sequence[Step], state: None) -> Sequence[float]:
        if len(computed) < 2:
            return (1.0,)
        weight = self.weight * self._progress(step)
        return 1 + weight, -weight

    def _progress(self, step: Step) -> float:
        """How far the step is into the part of the run that reuses attention, 0 to 1."""
        first = self.start * step.count
        return (step.index - first) / max(step.count - 1 - first, 1)

    def _catches_up(self, step: Step) -> bool:
        """Whether the unconditional branch is computed after a step that saved it: its outputs are old."""
        if self.guidance is None or step.is_first:
            return False
        before = replace(step, index=step.index - 1)
        is_full, was_full = (self.guidance.reason_to_compute(one) is not None for one in (step, before))
        return is_full and not was_full


@dataclass(frozen=True)
class FasterCache(PerLayer):
    """Extrapolate self attention on every other step, and estimate the unconditional branch of guidance.

    Use: on models with two guidance branches, one of which it saves on most steps. Models with distilled
    guidance gain little.
    Source: FasterCache, arXiv:2410.19355, https://github.com/Vchitect/FasterCache.
    Difference: the extrapolation's weight rises from 0 to 1, as in the paper; the official code has other
    constants for each model. When the unconditional branch is computed after it was saved, attention is
    computed too. Sequential guidance and packed latents work. Models with distilled guidance have no branch
    to save, and `last_run` says so. FasterCache in diffusers computes different steps: it goes by timesteps
    and counts from 0, reuses attention only when it saves the unconditional branch, also extrapolates from
    its own estimates, with a constant weight, and compounds the band weights.

    Args:
        start: the share of the run at its start that always computes attention, 0 to 1.
        interval: after that, steps from one computed attention to the next, from 1, which computes every
            step.
        weight: the extrapolation's weight at the end of the run; it rises from 0.
        guidance_start: the share of the run at its start that always computes both branches, 0 to 1.
        guidance_interval: after that, both are computed on every step whose number, counted from 1, is a
            multiple of this.
        low: how much the low frequencies of the branches' difference are raised before the switch.
        high: how much its high frequencies are raised after the switch.
        switch: the share of the run after which high frequencies are raised instead of low ones, 0 to 1.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "fastercache"
    layer_kinds = frozenset({LayerKind.SELF_ATTENTION, LayerKind.TEMPORAL_ATTENTION})
    ladder = rungs(interval=range(2, 21))

    start: Share = 0.25
    interval: Positive = 2
    weight: Raised = 1.0
    guidance_start: Share = 1 / 3
    guidance_interval: Positive = 5
    low: Raised = 0.2
    high: Raised = 0.2
    switch: Share = 0.7

    @property
    def guidance(self) -> Guidance | None:
        return CFGCache(self.guidance_start, self.guidance_interval, self.low, self.high, self.switch)

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        if layer.kind not in self.layer_kinds:
            return None
        return DynamicReuse(self.start, self.interval, self.weight, self.guidance)
