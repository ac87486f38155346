"""The statistics of a run: how many evaluations were skipped, why the others were not, and the gain."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, mean, median
from typing import Any

import torch

import skipstone.pictures as pictures
import skipstone.plotting as plotting
from skipstone.cachers.contract.cacher import Cacher
from skipstone.pipelines.run.advice import advice, unasked
from skipstone.pipelines.run.stopwatch import Mark

FEWEST_TO_COMPARE = 10
"""With fewer other runs nothing is said about hard prompts."""

FRAME_BLOCK = "frame block"
"""Blocks of frames that a step neither changes nor needs, among the parts of a step."""

FELT = 0.05
"""Of less than this share of a run's time nothing is said."""

HARD = 0.9
"""The share of other runs that a hard prompt's run deviates more than."""


@dataclass
class LogEntry:
    """One evaluation of a model.

    ``brought`` tells whether it brought the model's offloaded weights to the device, where they stayed.
    """

    model: str
    branch: str
    step: int
    reason: str | None
    begin: Mark
    end: Mark
    parts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    replayed: bool = False
    brought: bool = False

    @property
    def device(self) -> torch.device:
        """The device that it ran on."""
        return self.begin.device

    @property
    def skipped_in_part(self) -> bool:
        """Whether it was computed, with some parts skipped."""
        return self.reason is not None and any(skipped for _, skipped in self.parts)

    @property
    def has_skipped_layers(self) -> bool:
        """Whether it was computed, with estimates in place of some layers."""
        estimated = (kind for kind, skipped in self.parts if skipped and kind != FRAME_BLOCK)
        return self.reason is not None and any(estimated)

    @property
    def seconds(self) -> float:
        return self.begin.seconds_until(self.end)


@dataclass(frozen=True, repr=False)
class RunStats:
    """The statistics of one run.

    Args:
        method: the method and its hyper-parameters in this run.
        steps: how many steps the run took.
        planned_steps: how many steps it was set to take; more than ``steps`` if it was interrupted.
        skipped_steps: how many steps skipped all of their evaluations.
        evaluations: how many times the model was called.
        computed: how many evaluations ran the blocks.
        skipped: how many evaluations used an estimate instead.
        replayed: how many of the skipped ones were replayed as CUDA graphs.
        branches: for each model and branch the numbers of computed and skipped evaluations.
        parts: for each kind of part that is skipped on its own, such as self attention or blocks of frames,
            the numbers of computed and skipped calls.
        reasons: why evaluations were computed, and how often.
        strip: one character for each step: ``#`` computed, ``.`` skipped, ``+`` skipped in part, which means
            some of its evaluations or some of their parts.
        seconds: the time from the first evaluation to the end of the last step.
        speedup: the estimated time of the same run without skipping, divided by ``seconds``. It is estimated
            from the run's own computed and skipped evaluations; None without both kinds, or if blocks of
            frames were left out.
        bytes_held: the most bytes held for reuse at any time.
        skip_cost: the time of an evaluation that was skipped, in whole or in part, as a share of a computed
            one; None without both kinds.
        deviations: for each sample the root mean square, over computed steps, of what guidance makes of the
            model's output, less what would have been estimated; in the output's unit, empty for methods that
            do not measure it.
        harder: for each sample the share of runs that deviate less: of those that the plan was measured on,
            else of earlier ones like this since the cache was attached; empty if there were fewer than ten.
        passes: the statistics of each run, if one call of the pipeline made several, such as the sections of
            a long video; empty for a single run.
        notes: remarks that the figures do not show.
    """

    method: str
    steps: int = 0
    planned_steps: int = 0
    skipped_steps: int = 0
    evaluations: int = 0
    computed: int = 0
    skipped: int = 0
    replayed: int = 0
    branches: dict[str, dict[str, int]] = field(default_factory=dict)
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    strip: str = ""
    seconds: float = 0.0
    speedup: float | None = None
    bytes_held: int = 0
    skip_cost: float | None = None
    deviations: tuple[float, ...] = ()
    harder: tuple[float, ...] = ()
    passes: tuple["RunStats", ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The statistics as plain values, for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        return f"{self}\n{self.strip}".rstrip()

    def _repr_html_(self) -> str:
        facts = {"steps skipped": f"{self.skipped_steps} of {self.steps}"} if self.evaluations else {}
        if self.speedup is not None:
            facts["against computing all"] = f"about {self.speedup:.1f}x faster ({self.seconds:.1f} s)"
        facts |= {f"computed: {reason}": str(count) for reason, count in self.reasons.items()}
        facts |= {kind: f"{n['skipped']} of {sum(n.values())} skipped" for kind, n in self.parts.items()}
        drawn = [pictures.strip(self.strip)] if self.strip else []
        return pictures.card(self.method, drawn, facts, self.notes)

    def plot(self, axes: Any = None) -> Any:
        """Plot which steps were computed; return the axes.

        Args:
            axes: of matplotlib; None for those of a new figure.

        Raises:
            ImportError: matplotlib is not installed.
        """
        on = plotting.axes(axes, 1.6)
        title = f"{self.method}: {self.skipped_steps} of {self.steps} steps skipped"
        plotting.plot_strip(on, self.strip, title)
        return on

    def __str__(self) -> str:
        if not self.evaluations:
            return "; ".join((self.method, *self.notes)) if self.notes else f"{self.method}: no run yet"
        line = f"{self.skipped_steps} of {self.steps} steps skipped"
        if self.passes:
            line += f" in {len(self.passes)} passes"
        for kind, n in self.parts.items():
            line += f", {n['skipped']} of {sum(n.values())} {kind} calls"
        if self.speedup is not None:
            line += f", about {self.speedup:.1f}x faster than computing all"
        line += f" ({self.seconds:.1f} s), {self.method}"
        if not self.skipped and not any(n["skipped"] for n in self.parts.values()):
            line += f"; nothing was skipped: {_counted(self.reasons)}"
        elif more := unasked(self.reasons):
            line += f"; more was computed than the method asked for: {_counted(more)}"
        return "; ".join((line, *self.notes))


@dataclass
class RunLog:
    """Collect a run's evaluations as they happen.

    ``methods`` has the method of each model, ``earlier`` those of earlier runs.
    """

    methods: dict[str, Cacher[Any]]
    earlier: Sequence[Mapping[str, Cacher[Any]]] = ()
    planned_steps: int = 0
    entries: list[LogEntry] = field(default_factory=list)
    end: Mark | None = None
    bytes_held: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        """The methods and their hyper-parameters in this run."""
        return "; ".join(dict.fromkeys(method.describe() for method in self.methods.values()))

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def called(self, model: str) -> bool:
        """Whether this run called a model."""
        return any(entry.model == model for entry in self.entries)

    def step_entries(self, step: int) -> list[LogEntry]:
        return [entry for entry in self.entries if entry.step == step]

    def stats(self) -> RunStats:
        """The statistics so far."""
        steps = sorted({entry.step for entry in self.entries})
        strip = "".join(_mark(self.step_entries(step)) for step in steps)
        skipped = sum(entry.reason is None for entry in self.entries)
        seconds, deviations = self._seconds(), _deviations(self.methods)
        speedup = self._speedup(seconds)
        whose, others = self._others()
        harder = tuple(fmean(known < seen for known in others) for seen in deviations) if others else ()
        return RunStats(
            method=self.method,
            steps=len(steps),
            planned_steps=self.planned_steps,
            skipped_steps=strip.count("."),
            evaluations=len(self.entries),
            computed=len(self.entries) - skipped,
            skipped=skipped,
            replayed=sum(entry.replayed for entry in self.entries),
            branches=self._branches(),
            parts=self._parts(),
            reasons=dict(Counter(str(e.reason) for e in self.entries if e.reason is not None)),
            strip=strip,
            seconds=seconds,
            speedup=speedup,
            skip_cost=self.skip_cost(),
            bytes_held=self.bytes_held,
            deviations=deviations,
            harder=harder,
            notes=(
                *self.notes,
                *self._hints(),
                *self._remarks(),
                *self._bringing(seconds, speedup),
                *hard_prompts(harder, whose),
            ),
        )

    def _hints(self) -> list[str]:
        """What to try next, if the run is over and skipped nothing."""
        reasons = [entry.reason for entry in self.entries if entry.reason is not None]
        steps = len({entry.step for entry in self.entries})
        idle = len(reasons) == len(self.entries) and not any(entry.skipped_in_part for entry in self.entries)
        is_over = 0 < self.planned_steps <= steps
        found = advice(reasons, steps) if idle and is_over else None
        return [] if found is None else [found]

    def _remarks(self) -> list[str]:
        """What the methods have to say, if the run is over."""
        said = (text for method in self.methods.values() for text in method.remarks())
        return list(dict.fromkeys(said)) if self.is_over else []

    def _bringing(self, seconds: float, speedup: float | None) -> list[str]:
        """What it took to bring offloaded weights, if the run is over and that is felt."""
        calls = [entry.seconds for entry in self.entries if entry.brought]
        if not self.is_over or not calls or speedup is None:
            return []
        longer = sum(calls) - len(calls) * mean(self._times()[0])
        if longer < FELT * seconds:
            return []
        return [
            f"calls that brought a model to the device took {longer:.1f} s longer than the others, which no "
            f"cache saves: at most {speedup * seconds / sum(calls):.1f}x faster"
        ]

    @property
    def is_over(self) -> bool:
        """Whether the run has taken all of its steps."""
        return bool(self.entries) and len({entry.step for entry in self.entries}) >= self.planned_steps

    def _others(self) -> tuple[str, Sequence[float]]:
        """What other runs are, and their deviations; none if they are too few."""
        recorded = next((seen for method in self.methods.values() if (seen := method.usual_deviations())), ())
        if len(recorded) >= FEWEST_TO_COMPARE:
            return "recorded", recorded
        alike = (methods for methods in self.earlier if methods == self.methods)
        earlier = [seen for methods in alike for seen in _deviations(methods)]
        return "earlier", earlier if len(earlier) >= FEWEST_TO_COMPARE else ()

    def _branches(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for entry in self.entries:
            branch = counts.setdefault(f"{entry.model} {entry.branch}", {"computed": 0, "skipped": 0})
            branch["skipped" if entry.reason is None else "computed"] += 1
        return counts

    def _parts(self) -> dict[str, dict[str, int]]:
        totals = sum((entry.parts for entry in self.entries), Counter[tuple[str, bool]]())
        kinds = sorted({kind for kind, _ in totals})
        return {kind: {"computed": totals[kind, False], "skipped": totals[kind, True]} for kind in kinds}

    def _seconds(self) -> float:
        if not self.entries:
            return 0.0
        return self.entries[0].begin.seconds_until(self.end or self.entries[-1].end)

    def _speedup(self, seconds: float) -> float | None:
        computed, skipped = self._times()
        # What blocks of frames would have taken is not known from steps without them.
        is_whole = not any((FRAME_BLOCK, True) in entry.parts for entry in self.entries)
        if not computed or not skipped or not seconds or not is_whole:
            return None
        return 1 + len(skipped) * (mean(computed) - mean(skipped)) / seconds

    def skip_cost(self) -> float | None:
        """The time of a skipped evaluation, as a share of a computed one; None without both kinds.

        Medians are used, since the first skipped evaluation may compile kernels.
        """
        computed, skipped = self._times()
        return median(skipped) / median(computed) if computed and skipped and any(computed) else None

    def _times(self) -> tuple[list[float], list[float]]:
        """The seconds of computed evaluations, and of evaluations skipped in whole or in part.

        The first step is left out: it also learns the model and warms up the device. So are calls that
        brought a model to the device.
        """
        saving = [e.reason is None or e.has_skipped_layers for e in self.entries]
        pairs = list(zip(self.entries, saving, strict=True))
        computed = [e.seconds for e, saves in pairs if not saves and e.step > 0 and not e.brought]
        return computed, [e.seconds for e, saves in pairs if saves]


def _deviations(methods: Mapping[str, Cacher[Any]]) -> tuple[float, ...]:
    """Each sample's largest deviation over all models."""
    known = [seen for method in methods.values() if (seen := method.deviations())]
    return tuple(map(max, zip(*known, strict=False)))


def hard_prompts(harder: Sequence[float], whose: str) -> list[str]:
    """Which samples are harder than most other runs, in words; empty if none is.

    Args:
        harder: as of `RunStats`.
        whose: what the other runs are.
    """
    hard = [str(number) for number, share in enumerate(harder, 1) if share >= HARD]
    if not hard:
        return []
    which = "" if len(harder) == 1 else f"sample {', '.join(hard)} of {len(harder)}: "
    return [f"{which}harder than 9 in 10 {whose} runs, so expect a lower quality"]


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.items())


def _mark(entries: list[LogEntry]) -> str:
    if all(entry.reason is None for entry in entries):
        return "."
    return "+" if any(entry.reason is None or entry.skipped_in_part for entry in entries) else "#"
