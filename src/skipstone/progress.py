"""A line that grows by one character a step: what was computed and what was skipped."""

from types import TracebackType

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from skipstone.cachers.base import Step
from skipstone.pipelines.attach import Watcher

OTHER_COLUMNS = 18
"""Characters of a line beside its title and its strip: the counter, the time, the gaps."""


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
