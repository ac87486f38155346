"""Record how a model changes from step to step; constants of methods are measured from that."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.adacache import change_of, motion_of
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.words import Outcome, Probe, Step
from skipstone.cachers.recorders.recording import Recording
from skipstone.schedules.published.polynomials import Indicator


@dataclass
class Previous:
    """The values of a branch on the step before."""

    probe: Tensor | None = None
    value: Tensor | None = None


@dataclass(frozen=True)
class Comparing(Recording[Previous]):
    """Compute every step, and compare each with the one before."""

    def new_state(self) -> Previous:
        return Previous()


@dataclass(frozen=True)
class IndicatorRecorder(Comparing):
    """Compute every step, and record how the indicator and the output change: a polynomial is fitted to that.

    Source: TeaCache, arXiv:2411.19108, section 3.3.

    Args:
        indicator: the probe whose relative change is recorded.

    ``seen`` collects the relative changes of indicator and output, for each branch and step but the first.
    """

    name: ClassVar[str] = "indicator-recorder"

    indicator: Indicator = "modulated-input"
    seen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def probe(self) -> Probe:
        return Probe(self.indicator)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Previous) -> None:
        before, output_before = state.probe, state.value
        state.probe, state.value = probe, outcome.output
        if before is None or probe is None or output_before is None or outcome.output is None:
            return
        self.seen.append((relative_l1(probe, before), relative_l1(outcome.output, output_before)))


@dataclass(frozen=True)
class MagnitudeRecorder(Comparing):
    """Compute every step, and record how the residual's magnitude changes: MagCache's calibration.

    Source: MagCache, arXiv:2506.09045.

    ``seen`` collects the ratios of each step, one for each branch.
    """

    name: ClassVar[str] = "magnitude-recorder"

    seen: dict[int, list[float]] = field(default_factory=dict)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Previous) -> None:
        before, now = state.value, outcome.residual
        if before is not None and now is not None:
            ratio = (now.float().norm(dim=-1) / before.float().norm(dim=-1)).mean().item()
            self.seen.setdefault(step.index, []).append(ratio)
        state.value = now

    @property
    def ratios(self) -> tuple[float, ...]:
        """The mean ratio of each step; 1 for steps without one, such as the first."""
        count = max(self.seen, default=0) + 1
        return tuple(sum(r) / len(r) if (r := self.seen.get(n)) else 1.0 for n in range(count))


@dataclass(frozen=True)
class AttentionRecorder(Comparing):
    """Compute every step, and record how a middle block's attention changes: a codebook is made from that.

    ``changes`` and ``motions`` collect a value for each step from the second, of each branch.
    """

    name: ClassVar[str] = "attention-recorder"
    watches_attention = True

    changes: list[float] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Previous) -> None:
        before, now = state.value, outcome.attention
        if before is not None and now is not None:
            self.changes.append(change_of(now, before).max().item())
            if now.shape[1] > 1:
                self.motions.append(motion_of(now).max().item())
        state.value = now
