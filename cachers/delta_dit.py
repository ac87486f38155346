"""Delta-DiT: skip the rear blocks while the outline forms, and the front blocks while the details form."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.per_layer import LayerRule, PerLayer
from skipstone.cachers.contract.words import Layer, LayerKind, Reason, Step
from skipstone.declared import Positive, Share


@dataclass(frozen=True)
class OneBlock(LayerRule):
    """Compute a block on every ``interval``-th step, and in the phases of the run that do not skip it."""

    joins_blocks = True

    interval: int
    switch: float
    early: bool
    late: bool

    def reason(self, step: Step) -> str | None:
        if step.index % self.interval == 0:
            return Reason.INTERVAL
        is_early = step.index < self.switch * step.count
        return None if (self.early if is_early else self.late) else Reason.OUT_OF_RANGE


@dataclass(frozen=True)
class DeltaDiT(PerLayer):
    """Between full steps, skip the rear blocks in the early part of a run and the front blocks in the late
    part.

    Use: for runs of few steps, where no step can be skipped whole: each step still runs a part of the blocks.
    Source: Delta-DiT, arXiv:2406.01125; no official code.
    Difference: one residual is kept for each range of blocks that is skipped together, at most three. The
    defaults are ours; with them 20 steps need 1.6 times less work, as in the paper.

    Args:
        interval: steps from one full step to the next, from 1, which computes every step in full.
        share: the share of the blocks that is skipped in between, above 0 and at most 1.
        switch: the part of the run after which the front blocks are skipped instead of the rear ones, 0 to 1.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "delta-dit"
    layer_kinds = frozenset({LayerKind.BLOCK})
    ladder = rungs(interval=range(2, 21))

    interval: Positive = 2
    share: Annotated[float, Gt(0), Le(1)] = 0.75
    switch: Share = 0.6

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        skipped = round(self.share * layer.blocks)
        is_rear, is_front = layer.block >= layer.blocks - skipped, layer.block < skipped
        return OneBlock(self.interval, self.switch, early=is_rear, late=is_front)
