"""How long a sweep will take, from one uncached run."""

from collections.abc import Sequence
from dataclasses import dataclass

from skipstone.report.candidates import Candidate, most_looks
from skipstone.report.design import Design
from skipstone.schedules.search import RECIPES

LITTLE = (1.1, 1.25)
"""Fewer plain steps are measured at these speeds too: methods that skip single layers gain about as much."""

LOOK = 0.6
"""The share of an uncached loop that a run of the search takes: settings from strict to permissive."""


@dataclass(frozen=True)
class Estimate:
    """What a sweep will take.

    Args:
        runs: how many runs, at most.
        loops: how many uncached denoising loops these take together.
        loop_seconds: of an uncached loop.
        other_seconds: of the rest of the call.
    """

    runs: int
    loops: float
    loop_seconds: float
    other_seconds: float

    @property
    def seconds(self) -> float:
        """Of all runs together, without the time that the metrics take."""
        return self.runs * self.other_seconds + self.loops * self.loop_seconds

    def __str__(self) -> str:
        one = self.loop_seconds + self.other_seconds
        return f"an uncached run takes {_said(one)}; {self.runs} runs at most, about {_said(self.seconds)}"


def estimate(design: Design, loop_seconds: float, other_seconds: float, processes: int = 1) -> Estimate:
    """Estimate a whole sweep.

    Args:
        design: what is measured.
        loop_seconds: of an uncached denoising loop.
        other_seconds: of the rest of the call.
        processes: how many share the work.
    """
    candidates = design.candidates
    looks = search_runs(candidates, len(design.speedups)) + sum(found.is_fitted for found in candidates)
    is_planned = any(found.is_planned for found in candidates)
    plans = 2 + len(RECIPES) * len(design.speedups) if is_planned else 0
    faster = sum(1 / speedup for speedup in design.speedups)
    plain = [1 / speedup for speedup in sorted({*LITTLE, *design.speedups})]
    each = 2 + len(plain) + len(candidates) * len(design.speedups)
    loops = 2 + sum(plain) + len(candidates) * faster
    units = len(design.units)
    planned = 2 + len(RECIPES) * faster if is_planned else 0.0
    return Estimate(
        round((looks + plans + units * each) / processes),
        (LOOK * looks + planned + units * loops) / processes,
        loop_seconds,
        other_seconds,
    )


def search_runs(candidates: Sequence[Candidate], speedups: int) -> int:
    """How many runs the search for settings takes at most."""
    ladders = (found for found in candidates if not found.is_planned)
    return sum(most_looks(len(found.rungs), speedups) for found in ladders)


def _said(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
