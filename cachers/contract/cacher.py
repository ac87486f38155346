"""The contract of a caching method: when to compute, what to remember, how to estimate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.ladder import Rung
from skipstone.cachers.contract.words import (
    Correction,
    Layer,
    LayerKind,
    ModelFacts,
    Outcome,
    Probe,
    RunFacts,
    Site,
    Step,
    Weights,
    short,
)

StateT = TypeVar("StateT")


@dataclass(frozen=True)
class Cacher(ABC, Generic[StateT]):
    """A caching method: frozen hyper-parameters and the rules that use them.

    What changes during a run is the method's state, made by `new_state`, one per model and branch. The
    engine owns it, drops it when a run starts, and forces a computed step wherever there is nothing to reuse.
    One method object can therefore serve any number of pipelines. Most methods define `name`, `probe`,
    `new_state`, `reason_to_compute` and `update`, and nothing else.
    """

    name: ClassVar[str]
    """The method's name on the command line and in `skipstone.attach`."""

    ladder: ClassVar[Sequence[Rung]] = ()
    """Its settings from strict to permissive; a report measures those that reach the speeds asked for."""

    @property
    @abstractmethod
    def probe(self) -> Probe:
        """The signal that `reason_to_compute` is given."""

    @property
    def site(self) -> Site:
        """What is estimated on a skipped step."""
        return Site.STACK

    @property
    def history(self) -> int:
        """How many computed residuals the predictor uses; a method that never skips needs 0."""
        return 1

    @abstractmethod
    def new_state(self) -> StateT:
        """A fresh state for one branch of one run."""

    @abstractmethod
    def reason_to_compute(self, probe: Tensor | None, step: Step, state: StateT) -> str | None:
        """The gate: why this step must be computed, or None to skip it. Called on every step.

        Args:
            probe: the signal that `probe` names, None where the model does not have it.
            step: where the run is.
            state: this branch's state.

        Returns:
            A `Reason`, or one in the method's own words: `RunStats.reasons` counts them.
        """

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: StateT) -> None:
        """Learn that this step was computed, whether the gate asked for it or not."""
        del probe, outcome, step, state

    def weights(self, step: Step, computed: Sequence[Step], state: StateT) -> Weights:
        """The predictor: one weight for each kept residual, newest first; by default, reuse the newest.

        Args:
            step: the step to estimate.
            computed: the steps of the kept residuals, newest first, at most `history` of them.
            state: this branch's state.
        """
        del step, state
        return (1.0,) + (0.0,) * (len(computed) - 1)

    def describe(self) -> str:
        """The method and its hyper-parameters in one line."""
        settings = (f"{f.name} {short(getattr(self, f.name))}" for f in fields(self))
        return " ".join((self.name, ", ".join(settings)))

    # Few methods need what follows. What depends on the model or the run:

    def for_model(self, model: ModelFacts) -> "Cacher[StateT]":
        """This method with everything that depends on the model resolved."""
        del model
        return self

    def for_run(self, run: RunFacts) -> "Cacher[Any]":
        """What one run is made with: this method, or another one at the same site with the same probe."""
        del run
        return self

    @property
    def run_steps(self) -> int | None:
        """How many steps a run must have, None for any number."""
        return None

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        """Learn that a run is over, to its last step. Told to the method that is attached.

        Args:
            skip_cost: measures what a skipped evaluation cost of a computed one, None without both kinds; it
                waits for the device.
        """
        del skip_cost

    def deviations(self) -> Sequence[float]:
        """For each sample of a run, how its errors compare with the expected ones; empty if not known.

        Asked of what `for_run` returned, after the run.
        """
        return ()

    # Blocks that always run, guidance, and what `update` is shown:

    @property
    def head_blocks(self) -> int:
        """How many blocks run on every step, before the ones that may be skipped.

        At the deep branch of a UNet, how many layers run at either end.
        """
        return 0

    @property
    def tail_blocks(self) -> int:
        """How many blocks of a stack run on every step, after the ones that may be skipped."""
        return 0

    @property
    def guidance(self) -> Guidance | None:
        """What saves the unconditional branch of guidance beside this method's own work, None for nothing."""
        return None

    @property
    def watches_attention(self) -> bool:
        """Whether `update` is shown what a middle block's attention returned."""
        return False

    @property
    def coordinates(self) -> int | None:
        """How many random elements of a stack's residual `update` is given of each sample, None for all."""
        return None

    # At `Site.LAYER` alone:

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        """What it may skip at `Site.LAYER`."""
        return frozenset()

    def for_layer(self, layer: Layer) -> "Cacher[StateT] | None":
        """At `Site.LAYER`, the method of one layer, which has a state of its own; None to always run it."""
        return self if layer.kind in self.layer_kinds else None

    @property
    def joins_blocks(self) -> bool:
        """Whether blocks in a row that have this same method are skipped as one: their sum alone is kept.

        Of the blocks' own outcomes `update` hears nothing then.
        """
        return False

    def correction(self, state: StateT) -> Correction | None:
        """At `Site.LAYER`, how an estimate is corrected before it is used, None for not at all."""
        del state
        return None
