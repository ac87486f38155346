"""The base of wrappers, which change one thing about a method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import (
    Correction,
    Layer,
    LayerKind,
    ModelFacts,
    Outcome,
    Probe,
    RunFacts,
    Site,
    Solved,
    Step,
    Weights,
    short,
)

if TYPE_CHECKING:
    from skipstone.cachers.contract.guidance import Guidance


@dataclass(frozen=True)
class Wrapper(Cacher[Any]):
    """Do what another method does.

    A wrapper with its own state keeps the other method's state inside it; `inner` returns that.

    Args:
        cacher: the other method.
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
    def tail_blocks(self) -> int:
        return self.cacher.tail_blocks

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return self.cacher.layer_kinds

    @property
    def joins_blocks(self) -> bool:
        return self.cacher.joins_blocks

    @property
    def guidance(self) -> "Guidance | None":
        return self.cacher.guidance

    @property
    def shares_prefix(self) -> bool:
        return self.cacher.shares_prefix

    @property
    def watches_attention(self) -> bool:
        return self.cacher.watches_attention

    @property
    def run_steps(self) -> int | None:
        return self.cacher.run_steps

    @property
    def probe(self) -> Probe:
        return self.cacher.probe

    def inner(self, state: Any) -> Any:
        """The other method's state within this one's; by default there is no other."""
        return state

    def new_state(self) -> Any:
        return self.cacher.new_state()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> str | None:
        return self.cacher.reason_to_compute(probe, step, self.inner(state))

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Any) -> None:
        self.cacher.update(probe, outcome, step, self.inner(state))

    def weights(self, step: Step, computed: Sequence[Step], state: Any) -> Weights:
        return self.cacher.weights(step, computed, self.inner(state))

    def correction(self, state: Any) -> Correction | None:
        return self.cacher.correction(self.inner(state))

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_model(model))

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        cacher = self.cacher.for_layer(layer)
        return None if cacher is None else replace(self, cacher=cacher)

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        return replace(self, cacher=self.cacher.for_run(run))

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        self.cacher.end_run(skip_cost)

    @property
    def settles(self) -> bool:
        return self.cacher.settles

    def settle(self, solved: Solved) -> None:
        self.cacher.settle(solved)

    @property
    def nbytes(self) -> int:
        return self.cacher.nbytes

    def deviations(self) -> Sequence[float]:
        return self.cacher.deviations()

    def usual_deviations(self) -> Sequence[float]:
        return self.cacher.usual_deviations()

    def remarks(self) -> Sequence[str]:
        return self.cacher.remarks()

    def describe(self) -> str:
        settings = (f"{f.name} {short(getattr(self, f.name))}" for f in fields(self) if f.name != "cacher")
        return f"{self.cacher.describe()}; {self.name} {', '.join(settings)}"
