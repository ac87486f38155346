"""The bases of methods that skip layers by the position in the run only."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ATTENTION, Layer, LayerKind, Reason, Site, Step


@dataclass(frozen=True)
class PerLayer(ByStep):
    """A method that consists of one rule for each layer."""

    site = Site.LAYER

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return ATTENTION

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return Reason.IN_PART

    @abstractmethod
    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        """The rule of one layer."""


@dataclass(frozen=True)
class LayerRule(PerLayer):
    """One layer's rule."""

    name: ClassVar[str] = "layer-rule"

    @abstractmethod
    def reason(self, step: Step) -> str | None:
        """Why the layer runs on this step; None to skip it."""

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return self.reason(step)

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        return self


@dataclass(frozen=True)
class Scheduled(LayerRule):
    """Compute the steps of a schedule.

    Args:
        computed: for each step of a run whether the layer is computed. A run must have that many steps.
    """

    name: ClassVar[str] = "scheduled"

    computed: tuple[bool, ...]

    def reason(self, step: Step) -> str | None:
        if step.count != len(self.computed):
            raise ValueError(
                f"the layers' changes were measured on {len(self.computed)} steps, but the run has "
                f"{step.count}: measure them on as many"
            )
        return Reason.MASK if self.computed[step.index] else None
