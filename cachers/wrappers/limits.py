"""Steps that are computed whatever the method decides."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any, ClassVar

from torch import Tensor

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.words import Outcome, Reason, Step
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.declared import Natural, Share


@dataclass(frozen=True)
class Limit(Wrapper):
    """Compute some steps by their position; the wrapped method still sees them.

    Args:
        cacher: the method that decides on the other steps.
    """

    @abstractmethod
    def forced(self, step: Step) -> str | None:
        """Why this step is computed whatever the method decides."""

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> str | None:
        return super().reason_to_compute(probe, step, state) or self.forced(step)

    @property
    def guidance(self) -> Guidance | None:
        guidance = super().guidance
        return None if guidance is None else LimitedGuidance(guidance, self)


@dataclass(frozen=True)
class LimitedGuidance(Guidance):
    """Compute both branches of guidance on steps that a limit forces.

    Args:
        guidance: the method that decides on the other steps.
        limit: the limit.
    """

    name: ClassVar[str] = "limited-guidance"

    guidance: Guidance
    limit: Limit

    def reason_to_compute(self, step: Step) -> str | None:
        return self.guidance.reason_to_compute(step) or self.limit.forced(step)

    def split(self, difference: Tensor) -> Sequence[Tensor]:
        return self.guidance.split(difference)

    def weights(self, step: Step) -> Sequence[float]:
        return self.guidance.weights(step)


@dataclass(frozen=True)
class Warmup(Limit):
    """Compute the first steps of a run.

    Use: if a method skips too early, where the composition is decided.
    Source: the warm-up of DBCache in cache-dit, https://github.com/vipshop/cache-dit.

    Args:
        cacher: the method that decides on the other steps.
        steps: how many steps, from 0.
    """

    name: ClassVar[str] = "warmup"

    steps: Natural

    def forced(self, step: Step) -> str | None:
        return Reason.WARM_UP if step.index < self.steps else None


@dataclass(frozen=True)
class Tail(Limit):
    """Compute the last steps of a run.

    Use: if fine detail suffers.
    Source: skipstone itself.

    Args:
        cacher: the method that decides on the other steps.
        steps: how many steps, from 0.
    """

    name: ClassVar[str] = "tail"

    steps: Natural

    def forced(self, step: Step) -> str | None:
        return Reason.TAIL if step.index >= step.count - self.steps else None


@dataclass(frozen=True)
class StepRange(Limit):
    """Skip only within a part of the run.

    Use: if only one part of a run can be skipped in.
    Source: skipstone itself.

    Args:
        cacher: the method that decides within that part.
        start: where the part begins, as a share of the run, 0 to 1.
        stop: where it ends, above ``start``.
    """

    name: ClassVar[str] = "step-range"

    start: Share = 0.0
    stop: Share = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.start < self.stop:
            raise ValueError(f"expected start < stop, got start {self.start} and stop {self.stop}")

    def forced(self, step: Step) -> str | None:
        inside = self.start * step.count <= step.index < self.stop * step.count
        return None if inside else Reason.OUT_OF_RANGE


@dataclass(frozen=True)
class StepMask(Limit):
    """Compute the steps that a mask marks.

    Use: to compute the same steps as another program.
    Source: the mask of steps of cache-dit, https://github.com/vipshop/cache-dit.

    Args:
        cacher: the method that decides on the other steps.
        mask: one character for each step: ``#`` computes it, ``.`` leaves it to the method, as in
            ``RunStats.strip``. A run must have as many steps.
    """

    name: ClassVar[str] = "step-mask"

    mask: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mask or set(self.mask) - {"#", "."}:
            raise ValueError(f"mask must be made of '#' and '.', got {shortened(self.mask)}")

    @property
    def run_steps(self) -> int:
        return len(self.mask)

    def forced(self, step: Step) -> str | None:
        if step.count != len(self.mask):
            raise ValueError(f"the step mask is for {len(self.mask)} steps, the run has {step.count}")
        return Reason.MASK if self.mask[step.index] == "#" else None


@dataclass
class Capped:
    """The method's state, and how many steps were skipped since the last computed one."""

    inner: Any
    skipped: int = 0


@dataclass(frozen=True)
class RunCap(Wrapper):
    """Limit how many steps are skipped in a row.

    Saved unconditional branches do not count.

    Use: if long gaps show.
    Source: the limit of continuous cached steps of cache-dit, https://github.com/vipshop/cache-dit.

    Args:
        cacher: the method that decides up to the limit.
        skips: the limit, from 0.
    """

    name: ClassVar[str] = "run-cap"

    skips: Natural

    def new_state(self) -> Capped:
        return Capped(super().new_state())

    def inner(self, state: Capped) -> Any:
        return state.inner

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Capped) -> str | None:
        reason = super().reason_to_compute(probe, step, state)
        if reason is None and state.skipped >= self.skips:
            return Reason.RUN_CAP
        state.skipped += 1
        return reason

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Capped) -> None:
        state.skipped = 0
        super().update(probe, outcome, step, state)
