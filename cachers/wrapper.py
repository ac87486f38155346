"""The base of what changes one thing about a method and leaves the rest to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from skipstone.cachers.base import Cacher, ModelFacts, Outcome, Probe, Reason, RunFacts, Site, Step, short


@dataclass(frozen=True)
class Wrapper(Cacher[Any]):
    """Does what another method does.

    Args:
        cacher: the method.
    """

    cacher: Cacher[Any]

    @property
    def site(self) -> Site:
        return self.cacher.site

    @property
    def history(self) -> int:
        return self.cacher.history

    @property
    def head_blocks(self) -> int:
        return self.cacher.head_blocks

    @property
    def coordinates(self) -> int | None:
        return self.cacher.coordinates

    @property
    def probe(self) -> Probe:
        return self.cacher.probe

    @property
    def looks(self) -> bool:
        return self.cacher.looks

    def new_state(self) -> Any:
        return self.cacher.new_state()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> Reason | None:
        return self.cacher.reason_to_compute(probe, step, state)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Any) -> None:
        self.cacher.update(probe, outcome, step, state)

    def weights(self, step: Step, computed: Sequence[Step], state: Any) -> Sequence[float]:
        return self.cacher.weights(step, computed, state)

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_model(model))

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_run(run))

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        self.cacher.end_run(skip_cost)

    def deviations(self) -> Sequence[float]:
        return self.cacher.deviations()

    def describe(self) -> str:
        settings = (f"{f.name} {short(getattr(self, f.name))}" for f in fields(self) if f.name != "cacher")
        return f"{self.cacher.describe()}; {self.name} {', '.join(settings)}"
