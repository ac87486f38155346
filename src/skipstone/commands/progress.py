"""Progress of long work: a line that grows by one character each step, and a bar for many runs."""

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.attach import Watcher
from skipstone.printable import printable
from skipstone.report.estimate import Estimate

OTHER_COLUMNS = 18
"""Characters of a line besides title and strip: the counter, the time, the gaps."""


ONE_HOUR = 3600.0
"""The remaining time is estimated from the runs of this many last seconds."""


SHORT = 120.0
"""A sweep of so many seconds is not asked about."""


class StepLines:
    """Show the runs of a pipeline, one line each: ``#`` computed, ``.`` skipped, ``+`` skipped in part.

    If a run is longer than the line, the line shows its last steps.

    Args:
        console: where to show them.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[strip]}", markup=False),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def line(self, title: str) -> Watcher:
        """Begin a line; call the returned function after each step."""
        return self.named(lambda: title)

    def named(self, title: Callable[[], str]) -> Watcher:
        """Begin a line whose title is known for sure after the run's first step."""
        task = self._progress.add_task(printable(title()), total=None, strip="")
        width = max(1, self._progress.console.width - len(title()) - OTHER_COLUMNS)
        strip = ""

        def watch(step: Step, computed: int, skipped: int) -> None:
            nonlocal strip
            if not strip:
                self._progress.update(task, description=printable(title()))
            strip += "#" if not skipped else "+" if computed else "."
            self._progress.update(task, total=step.count, completed=step.index + 1, strip=strip[-width:])

        return watch

    def __enter__(self) -> "StepLines":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


def _bar(console: Console, counted: str, *before: ProgressColumn) -> Progress:
    """A bar that tells how many things are done, and how long the others will take.

    Args:
        console: where to show it.
        counted: what the things are called.
        before: what stands before the bar.
    """
    return Progress(
        *before,
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{counted},"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        speed_estimate_period=ONE_HOUR,
    )


class FrameBar:
    """Show how many frames of a video are made, and how long the others will take.

    Args:
        console: where to show it.
        frames: how many there will be.
    """

    def __init__(self, console: Console, frames: int) -> None:
        self._progress = _bar(console, "frames", TimeElapsedColumn(), TextColumn("so far:"))
        self._task = self._progress.add_task("", total=frames)

    def add(self, frames: int) -> None:
        """Count frames as made."""
        self._progress.update(self._task, advance=frames)

    def __enter__(self) -> "FrameBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


class RunBar:
    """Show how many runs of a sweep are done, and how long the others will take.

    Args:
        console: where to show it.
        asks: whether to ask before a long sweep.
    """

    def __init__(self, console: Console, asks: bool = False) -> None:
        self._asks = asks
        self._progress = _bar(console, "runs", TextColumn("{task.description}", markup=False))
        self._task = self._progress.add_task("the first run", total=None)

    def agrees(self, estimate: Estimate) -> bool:
        """Show how long the sweep will take; ask if that is long and somebody is there."""
        self._progress.console.print(str(estimate), highlight=False)
        self._progress.update(self._task, description="plans and fits")
        if not self._asks or estimate.seconds < SHORT:
            return True
        self._progress.stop()
        try:
            answer = self._progress.console.input("go on? [Y/n] ", markup=False)
        except EOFError:
            return False
        self._progress.start()
        return answer.strip().lower() in ("", "y", "yes")

    def search(self, runs: int) -> None:
        """Announce how many runs will look for settings, at most."""
        self._progress.reset(self._task, total=runs, description="looking for settings")

    def expect(self, runs: int) -> None:
        """Announce how many runs will follow."""
        self._progress.reset(self._task, total=runs, description="measuring")

    def done(self, title: str) -> None:
        """Count one of them as done."""
        self._progress.update(self._task, advance=1, description=printable(title))

    def __enter__(self) -> "RunBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
