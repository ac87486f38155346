"""What long work shows: a line that grows by one character a step, and a bar over many runs."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from skipstone.cachers.contract.words import Step
from skipstone.pipelines.attach import Watcher

OTHER_COLUMNS = 18
"""Characters of a line beside its title and its strip: the counter, the time, the gaps."""


ONE_HOUR = 3600.0
"""Seconds of which runs tell how long the others will take."""


class StepLines:
    """Shows the runs of a pipeline, one line each: ``#`` computed, ``.`` skipped, ``+`` in part.

    Of a run that is longer than the line, the last steps are shown.

    Args:
        console: where to show them.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[strip]}", markup=False),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def line(self, title: str) -> Watcher:
        """Begin a line; call the result after each step."""
        task = self._progress.add_task(title, total=None, strip="")
        width = max(1, self._progress.console.width - len(title) - OTHER_COLUMNS)
        strip = ""

        def watch(step: Step, computed: int, skipped: int) -> None:
            nonlocal strip
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


class RunBar:
    """Shows how many runs of a sweep are over, and how long the others will take.

    Args:
        console: where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            speed_estimate_period=ONE_HOUR,
        )
        self._task = self._progress.add_task("looking for settings", total=None)

    def expect(self, runs: int) -> None:
        """So many runs are to come."""
        self._progress.reset(self._task, total=runs, description="measuring")

    def done(self, title: str) -> None:
        """One of them is over."""
        self._progress.update(self._task, advance=1, description=title)

    def __enter__(self) -> "RunBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
