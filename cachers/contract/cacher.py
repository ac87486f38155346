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
    Solved,
    Step,
    Weights,
    short,
)
from skipstone.declared import Declared

StateT = TypeVar("StateT")


@dataclass(frozen=True)
class Cacher(Declared, ABC, Generic[StateT]):
    """A caching method: frozen hyper-parameters and the rules that use them.

    Everything that changes during a run is the method's state: `new_state` makes one for each model and
    branch. The engine owns it, drops it when a run starts, and forces a computed step if there is nothing to
    reuse. So one method object can serve any number of pipelines. Most methods define `name`, `probe`,
    `new_state`, `reason_to_compute` and `update`, and nothing else.
    """

    name: ClassVar[str]
    """The method's name on the command line and in `skipstone.attach`."""

    ladder: ClassVar[Sequence[Rung]] = ()
    """Its settings from strict to permissive; a report measures those that reach the target speeds."""

    @property
    @abstractmethod
    def probe(self) -> Probe:
        """The signal that `reason_to_compute` receives."""

    @property
    def site(self) -> Site:
        """What is estimated on a skipped step."""
        return Site.STACK

    @property
    def history(self) -> int:
        """How many computed residuals `weights` uses; a method that never skips needs 0."""
        return 1

    @abstractmethod
    def new_state(self) -> StateT:
        """A fresh state for one branch of one run."""

    @abstractmethod
    def reason_to_compute(self, probe: Tensor | None, step: Step, state: StateT) -> str | None:
        """Decide: why this step must be computed, or None to skip it. Called on every step.

        Args:
            probe: the signal that `probe` names; None if the model does not have it.
            step: the present step.
            state: this branch's state.

        Returns:
            A `Reason`, or a reason in the method's own words; `RunStats.reasons` counts them.
        """

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: StateT) -> None:
        """Learn from a computed step, whoever asked for it."""
        del probe, outcome, step, state

    def weights(self, step: Step, computed: Sequence[Step], state: StateT) -> Weights:
        """Estimate: one weight for each kept residual, newest first; by default reuse the newest one.

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
        """The method of one run: this one, or another one at the same site with the same probe."""
        del run
        return self

    @property
    def run_steps(self) -> int | None:
        """How many steps a run must have; None for any number."""
        return None

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        """Learn that a run has taken its last step. Called on the attached method.

        Args:
            skip_cost: returns the time of a skipped evaluation as a share of a computed one, None without
                both kinds; it waits for the device.
        """
        del skip_cost

    @property
    def settles(self) -> bool:
        """Whether `settle` is called on the method of a run: it must be found out on every step."""
        return False

    def settle(self, solved: Solved) -> None:
        """Correct what a solver goes on from, in place, as a computed output shows what estimates missed.

        Called after a step on the method that `for_run` returned, where the solver just adds up outputs and
        draws no noise; not for steps of which only a part was computed.
        """
        del solved

    @property
    def nbytes(self) -> int:
        """Bytes that the method of a run holds itself, beside what the engine keeps for it."""
        return 0

    def deviations(self) -> Sequence[float]:
        """For each sample of a run, how far computed outputs are from their estimates; empty if not known.

        Called after the run, on the method that `for_run` returned.
        """
        return ()

    def usual_deviations(self) -> Sequence[float]:
        """The deviations of recorded runs, to compare with; empty if not known.

        Called after the run, on the method that `for_run` returned.
        """
        return ()

    def remarks(self) -> Sequence[str]:
        """What the line after a run should say of this method, besides figures.

        Called after the run, on the method that `for_run` returned.
        """
        return ()

    # Blocks that always run, guidance, and what `update` is shown:

    @property
    def head_blocks(self) -> int:
        """How many first blocks run on every step.

        At `Site.DEEP`, how many layers run at either end of the UNet.
        """
        return 0

    @property
    def tail_blocks(self) -> int:
        """How many last blocks of a stack run on every step."""
        return 0

    @property
    def guidance(self) -> Guidance | None:
        """Saves the unconditional branch of guidance, besides this method's own work; or None."""
        return None

    @property
    def shares_prefix(self) -> bool:
        """Whether frames that a step neither changes nor needs are left out, besides this method's work."""
        return False

    @property
    def watches_attention(self) -> bool:
        """Whether `update` receives the output of a middle block's attention."""
        return False

    @property
    def coordinates(self) -> int | None:
        """How many random elements of each sample's residual `update` receives; None for all."""
        return None

    # At `Site.LAYER` alone:

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        """The kinds of layers that it may skip at `Site.LAYER`."""
        return frozenset()

    def for_layer(self, layer: Layer) -> "Cacher[StateT] | None":
        """At `Site.LAYER`, the method of one layer, with its own state; None to always run the layer."""
        return self if layer.kind in self.layer_kinds else None

    @property
    def joins_blocks(self) -> bool:
        """Whether consecutive blocks with this same method are skipped as one, and only their sum is kept.

        Then `update` does not receive the single blocks' outcomes.
        """
        return False

    def correction(self, state: StateT) -> Correction | None:
        """At `Site.LAYER`, a correction of each estimate, or None."""
        del state
        return None
