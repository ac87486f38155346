"""FORA on layers and on blocks: the simplest method that skips parts of a model."""

from dataclasses import dataclass

from skipstone import FORA
from skipstone.cachers.contract.words import ATTENTION, LayerKind, Site

FEED_FORWARD, BLOCK = frozenset({LayerKind.FEED_FORWARD}), frozenset({LayerKind.BLOCK})


@dataclass(frozen=True)
class LayerFORA(FORA):
    """FORA on each layer of some kinds."""

    site = Site.LAYER

    kinds: frozenset[LayerKind] = ATTENTION

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return self.kinds
