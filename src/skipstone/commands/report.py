"""`skipstone report`: check the request, load the pipeline, measure, write the page."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from skipstone.commands.opening import Opening
from skipstone.commands.options import FpsOption, LimitOption, PromptsOption, finite, numbers, words
from skipstone.commands.output import print_text
from skipstone.disk.writing import check_folder
from skipstone.metrics import media
from skipstone.pipelines import bundled
from skipstone.report.prompts import USUAL, read_prompts
from skipstone.report.rows import check_writable, read_rows

if TYPE_CHECKING:
    from skipstone.report.design import Design
    from skipstone.report.sweeps import Progress


@dataclass(frozen=True)
class Measuring:
    """What is measured, as typed."""

    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Methods between commas, or `all`. A setting after a colon is fixed: dbcache:blocks=2.",
        ),
    ] = None
    speedups: Annotated[
        str,
        typer.Option(
            metavar="NUMBERS", help="Target speedups; for each, every method's nearest setting is measured."
        ),
    ] = "1.5,2,3,5"
    prompts: PromptsOption = None
    limit: LimitOption = None
    seeds: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Seeds of the initial noise; every prompt runs with each.")
    ] = "0"
    metrics: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Quality metrics between commas; by default the usual ones."),
    ] = None

    def design(self, model: str) -> "Design":
        """The design of the sweep.

        Raises:
            TypeError: a method has no such hyper-parameter.
            ValueError: something else that cannot be measured.
        """
        from skipstone.metrics.comparison import USUAL
        from skipstone.report.design import METHODS, Design, expanded

        return Design(
            prompts_of(self.prompts, model, self.limit),
            numbers(self.seeds, int, "--seeds"),
            expanded(words(self.methods, METHODS)),
            numbers(self.speedups, float, "--speedups"),
            words(self.metrics, USUAL),
        )


def report(
    opening: Opening,
    measuring: Measuring,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path(
        "report.html"
    ),
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file to append rows to; by default rows.jsonl beside the page."
        ),
    ] = None,
    redrawn: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Draw the page from these rows; run nothing."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the prompts.")] = 1,
    megabytes: Annotated[
        float, typer.Option(min=0, callback=finite, help="Most megabytes of clips in the page.")
    ] = 14,
    fps: FpsOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Begin without asking, however long it is estimated to take.")
    ] = False,
) -> None:  # fmt: skip
    """Measure methods on your model and prompts, and write one page with their speed and quality."""
    from skipstone.report.page import write_page
    from skipstone.report.workers import is_first

    with redirect_stdout(sys.stderr):
        media.check_extension(output, (".html",))
        check_folder(output)
        source = redrawn or rows or output.with_name("rows.jsonl")
        if redrawn is None:
            with _resumable(source):
                _measure(opening, measuring.design(opening.model), source, fps, workers, yes)
        if is_first():
            write_page(read_rows(source), output, source.parent, megabytes)
    if is_first():
        print_text(f"wrote {output}")


def prompts_of(source: str | None, model: str, limit: int | None) -> list[str]:
    """The prompts of a file, or by default those of a bundled model or a few usual ones."""
    if source is None and model not in bundled.DEFAULTS:
        return list(USUAL)[:limit]
    return read_prompts(source or model)[:limit]


def _measure(
    opening: Opening, design: "Design", rows: Path, fps: float | None, workers: int, yes: bool
) -> None:
    from skipstone.report.workers import spread

    check_writable(rows)
    opening.frame_rate(fps)
    if workers > 1:
        spread(workers, _work, opening, design, rows, fps, yes)
    else:
        _work(opening, design, rows, fps, yes)


@contextmanager
def _resumable(rows: Path) -> Iterator[None]:
    """Say what is kept of an interrupted sweep."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{rows} keeps what was measured" if rows.exists() else "nothing was measured yet"
        print(f"interrupted: {kept}; the same command goes on", file=sys.stderr)
        raise


def _work(opening: Opening, design: "Design", rows: Path, fps: float | None, yes: bool) -> None:
    """Do this process's part of the sweep; the first process shows the progress."""
    from skipstone.commands.progress import RunBar
    from skipstone.report.sweeps import Silent
    from skipstone.report.workers import is_first

    if is_first():
        with RunBar(Console(stderr=True), asks=not yes and sys.stdin.isatty()) as bar:
            _sweep(opening, design, rows, fps, bar)
    else:
        _sweep(opening, design, rows, fps, Silent())


def _sweep(opening: Opening, design: "Design", rows: Path, fps: float | None, progress: "Progress") -> None:
    from skipstone.report.sweeps import sweep

    pipe, arguments = opening.open_for_many()
    rate = opening.frame_rate(fps)
    sweep(pipe, design, rows=rows, fps=rate, model=opening.model, progress=progress, **arguments)
