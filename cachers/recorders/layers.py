"""Record the changes of every layer in an uncached run; static schedules are made from that."""

from collections import deque
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, ClassVar

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import mean_l1
from skipstone.cachers.contract.per_layer import PerLayer
from skipstone.cachers.contract.words import Layer, LayerKind, Outcome, Step
from skipstone.cachers.recorders.recording import Recording

Seen = dict[tuple[int, int], list[float]]
"""For a step and a distance in steps, the changes between the two, relative to the later value."""

Recent = deque[Tensor]
"""A layer's outputs on the last steps, newest first."""


@dataclass(frozen=True)
class OneLayer(Recording[Recent]):
    """Compute one layer on every step, and record how its output changes.

    Args:
        lags: the largest distance in steps for which changes are recorded, from 1.
        seen: receives the changes.
    """

    name: ClassVar[str] = "listener"

    lags: int
    seen: Seen

    def new_state(self) -> Recent:
        return deque(maxlen=self.lags)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Recent) -> None:
        now = outcome.residual
        if now is None:
            state.clear()
            return
        for lag, before in enumerate(state, 1):
            change = (mean_l1(now, before) / mean_l1(now)).mean().item()
            self.seen.setdefault((step.index - lag, lag), []).append(change)
        state.appendleft(now)


@dataclass(frozen=True)
class LayerRecorder(PerLayer):
    """Compute every step, and record how each layer's output changes from step to step.

    Args:
        kinds: the kinds of recorded layers.
        lags: the largest distance in steps for which changes are recorded, from 1.

    ``seen`` collects the changes of each layer, by its kind and name.
    """

    name: ClassVar[str] = "layer-recorder"

    kinds: frozenset[LayerKind]
    lags: int = 1
    seen: dict[tuple[LayerKind, str], Seen] = field(default_factory=dict)

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return self.kinds

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        if layer.kind not in self.kinds:
            return None
        return OneLayer(self.lags, self.seen.setdefault((layer.kind, layer.name), {}))

    def describe(self) -> str:
        return self.name


def course(seen: list[Seen], lag: int, steps: int) -> tuple[float, ...]:
    """The mean change from each step of a run to the one ``lag`` later; infinite if none was recorded."""
    found = [[v for one in seen for v in one.get((n, lag), [])] for n in range(steps - lag)]
    return tuple(mean(values) if values else float("inf") for values in found)
