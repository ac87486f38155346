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
        ssim: float | None = None,
        lpips: float | None = None,
        share: float | None = None,
        prompts: Sequence[str] | None = None,
        refine: int = 0,
    ) -> Plan:
        """Find the best plan for a speed, a number of computed steps, or a quality.

        If the pipeline is at hand, a few candidates run on the recorded prompts with other noise. A candidate
        that is clearly better than the default is taken.

        For a quality, plans of rising density run on each prompt until so few miss it that it can be promised
        to the share of prompts like these; the plan carries the promise. With 19 prompts and a share of 0.95
        that costs about 30 uncached runs. What was measured is kept in the user's cache folder, so that a
        calibration that was interrupted goes on where it was.

        Args:
            speedup: how many times faster than computing every step, above 1.
            computed: how many steps to compute, from 1.
            quality: the least PSNR in dB of the pictures against those of uncached runs.
            ssim: the least SSIM instead.
            lpips: the most LPIPS instead.
            share: the share of prompts that must keep the quality, above 0.5 and below 1. By default 0.95
                from 19 prompts on; with fewer all of them must keep it, and nothing is promised to others.
            prompts: the prompts to calibrate on, each in a call of its own, otherwise like the recorded one.
                By default the recorded prompts, with noise that the plan was not made from.
            refine: how many more runs to spend on moving single steps; only improvements are kept.

        Raises:
            ValueError: not exactly one target is given, it cannot be reached, or there are too few prompts
                for the share; the message says what can be had.
        """
        target = Target(speedup, computed, quality, ssim, lpips, share)
        return find(self, target, refine, self.judge, prompts)
