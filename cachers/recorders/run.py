"""Record a run for planned caching."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import ModelFacts, Outcome, RunFacts, Step
from skipstone.cachers.recorders.recording import Recording

COORDINATES = 2048
"""How many random elements of each sample's residual are kept."""


@dataclass
class Tape:
    """The records of one model's evaluations in a run.

    Args:
        run: the run.
        seen: for each branch and step the kept elements of what is estimated on skipped steps and of the
            model's output, ``(batch, coordinates)`` each, where they could be read.
    """

    run: RunFacts
    seen: dict[str, dict[int, tuple[Tensor | None, Tensor | None]]] = field(default_factory=dict)
    coordinates: Coordinates = field(default_factory=lambda: Coordinates(COORDINATES))

    @property
    def is_complete(self) -> bool:
        """Whether the model was called up to the run's last step."""
        last = len(self.run.steps) - 1
        return any(last in steps for steps in self.seen.values())

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        tensors = (tensor for steps in self.seen.values() for pair in steps.values() for tensor in pair)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class Recorder(Recording[None]):
    """Compute every step, and keep a few random elements of each residual and of each output.

    That is ``steps x branches x 2 x batch x 2048`` numbers of four bytes: less than 2 MB in a run of 50
    steps with guidance, whatever the model's size.

    ``tapes`` collects the newest run of each model. ``why`` says why it is recorded, empty where that is what
    was asked for.
    """

    name: ClassVar[str] = "recorder"
    coordinates = COORDINATES

    tapes: dict[str, Tape] = field(default_factory=dict)
    model: str = "transformer"
    why: str = ""

    def for_model(self, model: ModelFacts) -> "Recorder":
        return replace(self, model=model.name)

    def for_run(self, run: RunFacts) -> "Recorder":
        # Whoever keeps the tape would keep the run.
        self.tapes[self.model] = Tape(replace(run, key=None))
        return self

    def new_state(self) -> None:
        return None

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: None) -> None:
        tape = self.tapes[self.model]
        output = None if outcome.output is None else tape.coordinates.of(outcome.output)
        tape.seen.setdefault(outcome.branch, {})[step.index] = (outcome.residual, output)

    def describe(self) -> str:
        return f"recorded, {self.why}" if self.why else self.name
