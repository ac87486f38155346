"""A sweep: methods x settings x prompts x seeds, every run paired with the uncached one of its seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from skipstone.cachers.planned import Planned
from skipstone.pipelines.attach import attach
from skipstone.pipelines.clips.clip import Clip, warm_up
from skipstone.pipelines.model.models import models_of
from skipstone.report.about import about
from skipstone.report.bench import Bench, Setting, work_share
from skipstone.report.candidates import Candidate, rungs_for
from skipstone.report.design import Design
from skipstone.report.estimate import LITTLE, Estimate, estimate, search_runs
from skipstone.report.fits import fitted
from skipstone.report.kept_plans import KeptPlans
from skipstone.report.previews import Previews
from skipstone.report.rows import CACHED, PLAIN, REPEAT, SEARCH, UNCACHED, RowFile
from skipstone.report.workers import Crew


class Progress(Protocol):
    """Is told about the progress."""

    def agrees(self, estimate: Estimate) -> bool:
        """Hear how long the sweep will take; False to measure nothing."""

    def search(self, runs: int) -> None:
        """Announce that settings are looked for, in so many runs at most."""

    def expect(self, runs: int) -> None:
        """Announce how many runs will follow."""

    def done(self, title: str) -> None:
        """Count one of them as done."""


class Silent:
    """Shows no progress."""

    def agrees(self, estimate: Estimate) -> bool:
        return True

    def search(self, runs: int) -> None:
        pass

    def expect(self, runs: int) -> None:
        pass

    def done(self, title: str) -> None:
        pass


def sweep(
    pipe: Any,
    design: Design,
    *,
    rows: Path | None = None,
    fps: float | None = None,
    model: str | None = None,
    progress: Progress | None = None,
    **arguments: Any,
) -> list[dict[str, Any]]:
    """Measure methods on a pipeline, beside fewer plain steps and the noise floor.

    For each method and target speed, runs of the first prompt find the nearest setting. Its speed and quality
    are then measured on all prompts. An interrupted sweep continues where it stopped. Under ``accelerate
    launch`` the processes share the prompts.

    Args:
        pipe: a text-to-video or text-to-image pipeline without a cache, on its device.
        design: the prompts, seeds, methods, speeds and metrics.
        rows: a file of JSON lines for the measurements; a folder for the clips is made beside it. None for
            neither.
        fps: frames a second of a video; None for images.
        model: the model's name in the report.
        progress: is told about the progress.
        arguments: arguments of the pipeline's call, such as ``num_inference_steps``.

    Returns:
        The rows, as `pandas.DataFrame` takes them.

    Raises:
        ValueError: several processes without a file, a file with rows of another sweep, or a device or
            pipeline that cannot be measured.
    """
    device = _parameter(pipe).device
    crew = Crew(on_cpu=device.type == "cpu")
    if rows is None and crew.count > 1:
        raise ValueError("several processes bring their rows together in a file: give rows=PATH")
    previews = None if rows is None else Previews(rows.with_name(f"{rows.stem}_clips"), fps)
    bench = Bench(pipe, arguments, design.metrics, fps, previews, device)
    plans = KeptPlans(bench, design.units[0], None if rows is None else rows.with_name(f"{rows.stem}_plans"))
    return Sweep(design, bench, RowFile(rows, crew.rank), plans, crew, model, progress or Silent()).run()


@dataclass
class Sweep:
    """A sweep in progress; its arguments are those of `sweep`."""

    design: Design
    bench: Bench
    file: RowFile
    plans: KeptPlans
    crew: Crew
    model: str | None
    progress: Progress
    usable: list[Candidate] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unplanned: list[str] = field(default_factory=list)
    first: Clip | None = None

    def run(self) -> list[dict[str, Any]]:
        """Measure what is not yet in the file."""
        self._check()
        self._ask()
        self._leave_out()
        self._open()
        self.progress.search(search_runs(self.crew.share(self.usable), len(self.design.speedups)))
        settings = [*self._baselines(), *self._cached()]
        mine = self.crew.share(self.design.units)
        units = [(unit, left) for unit in mine if (left := self._left(settings, unit))]
        self.progress.expect(sum(len(left) for _, left in units))
        if units:
            self._warm_up(settings)
        for unit, left in units:
            for row in self.bench.rows(left, *unit):
                self.file.append(row)
                self.progress.done(f"{row['kind']} {row['method']}".strip())
        self._close()
        return self.file.rows

    def _ask(self) -> None:
        """Say how long it will take, from the first uncached run.

        Raises:
            ValueError: that is too long.
        """
        known = self.file.matching(self._wanted(Setting(UNCACHED)))
        if known is not None or self.crew.rank > 0:
            return
        self.first = self.bench.run(Setting(UNCACHED), *self.design.units[0])
        loop, call = self.first.loop_seconds, self.first.call_seconds
        if not self.progress.agrees(estimate(self.design, loop, call - loop, self.crew.count)):
            raise ValueError(
                "nothing was measured; fewer methods, speeds or prompts take less, such as "
                "--methods planned,first-block --speedups 2 --limit 2"
            )

    def _leave_out(self) -> None:
        """Leave out methods that do not work on this model, and note why."""
        for found in self.design.candidates:
            try:
                self.usable.append(self._prepared(found))
            except ValueError as error:
                self.left_out[found.label] = str(error)

    def _prepared(self, found: Candidate) -> Candidate:
        """A candidate with its constants of this model.

        Raises:
            ValueError: the method does not work on this model.
        """
        if found.is_planned:
            self._plan(found)
            return found
        if found.is_fitted:
            found = self._fitted(found)
        attach(self.bench.pipe, found.method(0)).remove()
        return found

    def _fitted(self, found: Candidate) -> Candidate:
        """Measure constants in the first process, for all processes.

        Raises:
            ValueError: there is nothing to measure.
        """
        outcome = self.crew.gather([self._fit(found)] if self.crew.rank == 0 else [])[0]
        if isinstance(outcome, str):
            raise ValueError(outcome)
        return outcome

    def _fit(self, found: Candidate) -> Candidate | str:
        """The fitted candidate, or why it cannot be fitted."""
        prompt, seed = self.design.units[0]
        arguments = {**self.bench.arguments, "generator": torch.Generator().manual_seed(seed)}
        self.progress.done(f"fitting {found.label}")
        try:
            return fitted(found, self.bench.pipe, prompt, arguments)
        except ValueError as error:
            return str(error)

    def _plan(self, found: Candidate) -> None:
        """Make the plans in the first process; the others wait for them.

        Raises:
            ValueError: no speed has a plan.
        """
        refusals = []
        for speedup in self.design.speedups if self.crew.rank == 0 else ():
            try:
                self.plans.of(speedup)
                self.progress.done(f"planning for {speedup:g}x")
            except ValueError as error:
                self.left_out[f"{found.label} at {speedup:g}x"] = str(error)
                refusals.append(str(error))
        self.unplanned = self.crew.gather(list(self.left_out))
        if len(refusals) == len(self.design.speedups):
            raise ValueError(refusals[0])

    def _check(self) -> None:
        """Refuse to continue with the rows of another sweep."""
        if self.crew.rank == 0:
            self.file.check(self._about())

    def _about(self) -> dict[str, Any]:
        dtype = _parameter(self.bench.pipe).dtype
        return about(self.bench, self.model, self.design, dtype, self.left_out)

    def _open(self) -> None:
        """Take in the rows of an interrupted sweep, and write what this one is."""
        if self.crew.rank == 0:
            self.file.absorb()
            self.file.append(self._about())
        self.crew.wait()
        self.file.refresh()

    def _close(self) -> None:
        self.crew.wait()
        if self.crew.rank == 0:
            self.file.absorb()
        self.crew.wait()
        self.file.refresh()

    def _baselines(self) -> Iterator[Setting]:
        yield Setting(UNCACHED)
        yield Setting(REPEAT)
        count = self._look(Setting(UNCACHED))["steps"]
        speedups = sorted({*LITTLE, *self.design.speedups})
        for steps in dict.fromkeys(max(1, round(count / speedup)) for speedup in speedups):
            yield Setting(PLAIN, steps=steps)

    def _cached(self) -> Iterator[Setting]:
        """The settings nearest to the target speeds; the processes share the search."""
        ladders = [found for found in self.usable if not found.is_planned]
        mine = [(found.label, self._rungs(found)) for found in self.crew.share(ladders)]
        rungs = dict(self.crew.gather(mine))
        for found in self.usable:
            if found.is_planned:
                yield from self._planned(found)
            else:
                yield from (_setting(found, rung) for rung in rungs[found.label])

    def _planned(self, found: Candidate) -> Iterator[Setting]:
        for speedup in self.design.speedups:
            if f"{found.label} at {speedup:g}x" not in self.unplanned:
                plan = self.plans.of(speedup)
                expected = tuple(plan.expected_errors())
                yield Setting(CACHED, found.label, f"speedup={speedup:g}", Planned(plan), expected=expected)

    def _rungs(self, found: Candidate) -> list[int]:
        def speed(rung: int) -> float:
            return 1 / float(self._look(_setting(found, rung))["work_share"])

        return rungs_for(len(found.rungs), speed, self.design.speedups)

    def _look(self, setting: Setting) -> dict[str, Any]:
        """The row of a search run of the first prompt and seed: from the file, or from a run now."""
        wanted = self._wanted(setting)
        known = self.file.matching(wanted)
        if known is not None:
            return known
        given = self.first if setting.kind == UNCACHED else None
        clip = given or self.bench.run(setting, *self.design.units[0])
        row = {**wanted, "steps": clip.steps, "work_share": work_share(clip.stats)}
        self.file.append(row)
        self.progress.done(f"looking for settings: {setting.label or 'uncached'}")
        return row

    def _wanted(self, setting: Setting) -> dict[str, Any]:
        """What identifies the search row of a setting."""
        return {**setting.key(*self.design.units[0]), "kind": SEARCH}

    def _left(self, settings: Sequence[Setting], unit: tuple[str, int]) -> list[Setting]:
        return [setting for setting in settings if setting.key(*unit) not in self.file]

    def _warm_up(self, settings: Sequence[Setting]) -> None:
        """Warm up, so that no timed run includes a first use."""
        arguments = {**self.bench.arguments, "prompt": self.design.prompts[0]}
        # Fits and plans hold for runs of full length only.
        whole = {found.label for found in self.usable if found.is_fitted or found.is_planned}
        for setting in {setting.label: setting for setting in settings if setting.method}.values():
            if setting.label in whole:
                self.bench.run(setting, *self.design.units[0])
            else:
                warm_up(self.bench.pipe, arguments, setting.method)
        self.bench.run(replace(Setting(PLAIN), steps=2), *self.design.units[0])


def _setting(found: Candidate, rung: int) -> Setting:
    return Setting(CACHED, found.label, " ".join(found.settings(rung)), found.method(rung))


def _parameter(pipe: Any) -> torch.Tensor:
    """One parameter of the model, for its device and type."""
    model = next(iter(models_of(pipe).values()))
    return next(model.parameters())
