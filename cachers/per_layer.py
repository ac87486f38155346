"""The bases of methods that skip layers by the position in the run alone."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from skipstone.cachers.base import ATTENTION, Cacher, Layer, LayerKind, Probe, Reason, Site, Step


@dataclass(frozen=True)
class PerLayer(Cacher[None]):
    """Has a rule for each layer, and none of its own."""

    @property
    def site(self) -> Site:
        return Site.LAYER

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return ATTENTION

    @property
    def probe(self) -> Probe:
        return Probe.NONE

    def new_state(self) -> None:
        return None

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> Reason | None:
        return Reason.IN_PART

    @abstractmethod
    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        """The rule of one layer."""


@dataclass(frozen=True)
class LayerRule(PerLayer):
    """One layer's rule."""

    name: ClassVar[str] = "layer-rule"

    @abstractmethod
    def reason(self, step: Step) -> Reason | None:
        """Why the layer runs on this step, None to skip it."""

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> Reason | None:
        return self.reason(step)

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        return self
