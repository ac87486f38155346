"""A record of one uncached run, from which plans are made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from skipstone.schedules.moments import mean_moments
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import Profile
from skipstone.schedules.profile import Quantity as Quantity
from skipstone.schedules.search import Judge, Target, find


@dataclass(frozen=True, eq=False, repr=False)
class Record(Profile):
    """What one uncached run shows of a model; with the pipeline at hand, plans are tried on it.

    Args:
        made_for: plain values that describe the pipeline and the kind of run.
        levels: the share of noise in the model's input on each step of the run, as flow time,
            falling.
        moments: how similar each quantity is on any two steps.
        prompts: how many samples the moments are the mean of.
        skip_cost: the time of a skipped evaluation, as a share of a computed one; 0 where it was not
            measured.
        judge: runs a plan on the recorded prompts with other noise and measures its quality; None for a
            record from a file.
    """

    judge: Judge | None = None

    def add(self, other: "Record") -> "Record":
        """Combine this record with another prompt's, as if one batch had recorded both.

        Raises:
            ValueError: the other record is of another kind of run.
        """
        differing = [key for key in self.made_for if self.made_for[key] != other.made_for.get(key)]
        if differing or self.moments.keys() != other.moments.keys():
            raise ValueError(f"the records differ in {', '.join(differing) or 'what was called'}")
        counts = [self.prompts, other.prompts]
        joined = {key: mean_moments([part, other.moments[key]], counts) for key, part in self.moments.items()}
        judges = [judge for judge in (self.judge, other.judge) if judge is not None]
        judge = None if len(judges) < 2 else judges[0].joined(judges[1])
        return replace(self, moments=joined, prompts=sum(counts), judge=judge)

    def resampled(self, levels: Sequence[float]) -> "Record":
        """Resample the profile; drop the judge, whose runs have the recorded levels."""
        return replace(super().resampled(levels), judge=None)

    def plan(
        self,
        *,
        speedup: float | None = None,
        computed: int | None = None,
        quality: float | None = None,
        refine: int = 0,
    ) -> Plan:
        """Find the best plan for a speed, a number of computed steps, or a quality.

        If the pipeline is at hand, a few candidates run on the recorded prompts with other noise. A candidate
        that is clearly better than the default is taken.

        Args:
            speedup: how many times faster than computing every step, above 1.
            computed: how many steps to compute, from 1.
            quality: the PSNR in dB against the uncached run that the worst recorded prompt must keep with
                other noise; the plan computes as few steps as possible.
            refine: how many more runs to spend on moving single steps; only improvements are kept.

        Raises:
            ValueError: not exactly one of speedup, computed and quality is given, or it cannot be reached;
                the message says what can be reached.
        """
        return find(self, Target(speedup, computed, quality), refine, self.judge)
