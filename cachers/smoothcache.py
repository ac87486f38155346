"""SmoothCache: layers of one kind share one schedule, made from their measured changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.per_layer import PerLayer, Scheduled
from skipstone.cachers.contract.words import ATTENTION, Layer, LayerKind, ModelFacts
from skipstone.declared import Change, Threshold


@dataclass(frozen=True)
class SmoothCache(PerLayer):
    """Skip all layers of one kind for as many steps as their mean change, measured in other runs, allows.

    The schedules are fixed before the run and are the same for every prompt.

    Use: for many runs of one model, scheduler and number of steps, if layers of one kind change alike.
    Source: SmoothCache, arXiv:2411.10510, https://github.com/Roblox/SmoothCache.
    Difference: what a layer does decides its kind, not its name.

    Args:
        threshold: a layer's output is reused up to this relative change, from 0. The official example uses
            0.15; with that one of the bundled models keeps less than 30 dB.
        errors: for each kind of layer and each distance in steps, from 1, the mean relative L1 change of its
            layers' outputs from each step to the step that far ahead. They hold for one model, scheduler and
            number of steps; `skipstone.fit_smoothcache` measures them.

    Raises:
        ValueError: a negative threshold; when attached, no errors; in a run, errors of another model or of
            another number of steps.
    """

    name: ClassVar[str] = "smoothcache"
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.06
    errors: Mapping[LayerKind, tuple[tuple[Change, ...], ...]] | None = None

    @property
    def run_steps(self) -> int | None:
        return 1 + len(next(iter(self.errors.values()))[0]) if self.errors else None

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return ATTENTION | {LayerKind.FEED_FORWARD} if self.errors is None else frozenset(self.errors)

    def for_model(self, model: ModelFacts) -> "SmoothCache":
        if self.errors is None:
            raise ValueError(
                f"{self.name} does not know how the layers of this {model.class_name} change; measure it "
                "with skipstone.fit_smoothcache(pipe, prompts)"
            )
        return self

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        assert self.errors is not None
        errors = self.errors.get(layer.kind)
        return None if errors is None else Scheduled(schedule(errors, self.threshold))

    def describe(self) -> str:
        return f"{self.name} threshold {self.threshold:g}"


def schedule(errors: Sequence[Sequence[float]], threshold: float) -> tuple[bool, ...]:
    """On which steps layers are computed: the first, the last, and the one after each longest allowed skip.

    Args:
        errors: for each distance in steps, from 1, the change from each step to the step that far ahead.
        threshold: the largest allowed change.
    """
    steps = len(errors[0]) + 1
    computed, now = [False] * steps, 0
    while now < steps:
        computed[now] = True
        allowed = [lag for lag, row in enumerate(errors, 1) if now < len(row) and row[now] <= threshold]
        now += max(allowed, default=0) + 1
    computed[-1] = True
    return tuple(computed)
