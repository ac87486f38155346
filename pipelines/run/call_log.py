"""The log of a pipeline's call, which may make several runs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.pipelines.run.stats import RunLog, RunStats

COUNTS = ("steps", "planned_steps", "skipped_steps", "evaluations", "computed", "skipped", "replayed")
"""The counts of each pass."""


def joined(passes: Sequence[RunStats], notes: Sequence[str]) -> RunStats:
    """Join the statistics of several passes into those of one call."""
    costs = [one.skip_cost for one in passes if one.skip_cost is not None]
    uncached = sum(one.seconds * (one.speedup or 1.0) for one in passes)
    seconds = sum(one.seconds for one in passes)
    totals = {name: sum(getattr(one, name) for one in passes) for name in COUNTS}
    return RunStats(
        **totals,
        method="; ".join(dict.fromkeys(one.method for one in passes)),
        strip=" ".join(one.strip for one in passes),
        seconds=seconds,
        speedup=uncached / seconds if seconds and any(one.speedup for one in passes) else None,
        bytes_held=max(one.bytes_held for one in passes),
        skip_cost=median(costs) if costs else None,
        deviations=tuple(map(max, zip(*(one.deviations for one in passes if one.deviations), strict=False))),
        harder=tuple(map(max, zip(*(one.harder for one in passes if one.harder), strict=False))),
        passes=tuple(passes),
        notes=tuple(dict.fromkeys([*notes, *(note for one in passes for note in one.notes)])),
        branches=_counts(one.branches for one in passes),
        parts=_counts(one.parts for one in passes),
        reasons=dict(sum((Counter(one.reasons) for one in passes), Counter())),
    )


def _counts(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Add up the counts of all passes, by model and branch or by kind."""
    sums: dict[str, Counter[str]] = {}
    for part in parts:
        for key, counts in part.items():
            sums.setdefault(key, Counter()).update(counts)
    return {key: dict(counts) for key, counts in sums.items()}


@dataclass
class CallLog:
    """Collect the runs of one call of a pipeline, or the single run of a program's own loop.

    Args:
        methods: the method of each model.
        passes: the log of each run.
        notes: notes from outside the runs.
    """

    methods: Mapping[str, Cacher[Any]]
    passes: list[RunLog] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def stats(self) -> RunStats:
        """The statistics so far."""
        if len(self.passes) > 1:
            return joined([log.stats() for log in self.passes], self.notes)
        found = (self.passes[0] if self.passes else RunLog(dict(self.methods))).stats()
        return replace(found, notes=tuple(dict.fromkeys((*self.notes, *found.notes))))
