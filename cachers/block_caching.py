"""Block Caching: every block has its own schedule, made from its measured changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.per_layer import PerLayer, Scheduled
from skipstone.cachers.contract.words import Layer, LayerKind, ModelFacts, Probe
from skipstone.cachers.scale_shift import ScaleShift, adjusted
from skipstone.declared import Change, Threshold


@dataclass(frozen=True)
class BlockCaching(PerLayer):
    """Compute each block when the summed changes of its residual, measured in other runs, exceed a threshold.

    The schedules are fixed before the run and are the same for every prompt.

    Use: for many runs of one model, scheduler and number of steps, measured once. Add the trained adjustment
    if no other method is good enough.
    Source: Block Caching, arXiv:2312.03209; no official code.
    Difference: if the blocks change two streams, as in FLUX, the larger stream decides for both.

    Args:
        threshold: summed relative change above which a block is computed, from 0.
        changes: for each block's name, the relative L1 change of its residual from each step to the next: one
            value fewer than there are steps. They hold for one model, scheduler and number of steps;
            `skipstone.fit_block_caching` measures them.
        adjustment: a learned correction of the residuals of skipped blocks. It holds for the schedules that
            it was trained with, so for these changes and this threshold.

    Raises:
        ValueError: a negative threshold; when attached, no changes, or an adjustment on a model without a
            time embedding; in a run, changes of another model or another number of steps.
    """

    name: ClassVar[str] = "block-caching"
    layer_kinds = frozenset({LayerKind.BLOCK})
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.1
    changes: Mapping[str, tuple[Change, ...]] | None = None
    adjustment: ScaleShift | None = None

    @property
    def probe(self) -> Probe:
        return Probe.NONE if self.adjustment is None else Probe.TIME_EMBEDDING

    @property
    def run_steps(self) -> int | None:
        return 1 + len(next(iter(self.changes.values()))) if self.changes else None

    def for_model(self, model: ModelFacts) -> "BlockCaching":
        if self.changes is None:
            raise ValueError(
                f"{self.name} does not know how the blocks of this {model.class_name} change; measure it "
                "with skipstone.fit_block_caching(pipe, prompts)"
            )
        return self

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        assert self.changes is not None
        if layer.name not in self.changes:
            raise ValueError(f"no changes were measured for {layer.name}: measure them on this model")
        rule = Scheduled(schedule(self.changes[layer.name], self.threshold))
        if self.adjustment is None or all(rule.computed):
            return rule
        return adjusted(rule, self.adjustment, layer.name)

    def describe(self) -> str:
        ending = "" if self.adjustment is None else ", adjusted"
        return f"{self.name} threshold {self.threshold:g}{ending}"


def schedule(changes: Sequence[float], threshold: float) -> tuple[bool, ...]:
    """On which steps a block is computed: the first, and each step where the summed changes exceed the
    threshold.

    Args:
        changes: from each step to the next.
        threshold: the largest sum for which the block is skipped.
    """
    computed, total = [True], 0.0
    for change in changes:
        total += change
        computed.append(total > threshold)
        total = 0.0 if computed[-1] else total
    return tuple(computed)
