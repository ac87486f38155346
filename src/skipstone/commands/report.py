"""`skipstone report`: refuse what cannot work, load, sweep, write the page."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from skipstone.commands.opening import Opening
from skipstone.commands.options import FpsOption, LimitOption, PromptsOption, finite, numbers, words
from skipstone.metrics import media
from skipstone.pipelines import bundled
from skipstone.report.prompts import read_prompts
from skipstone.report.rows import check_writable, read_rows

if TYPE_CHECKING:
    from skipstone.report.design import Design
    from skipstone.report.sweeps import Progress


@dataclass(frozen=True)
class Measuring:
    """What is measured, as it is typed."""

    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Methods between commas, or `all`; settings after colons are kept: dbcache:blocks=2.",
        ),
    ] = None
    speedups: Annotated[
        str, typer.Option(metavar="NUMBERS", help="The speeds that settings of each method are looked for.")
    ] = "1.5,2,3,5"
    prompts: PromptsOption = None
    limit: LimitOption = None
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="Of the noise, for each prompt.")] = "0"
    metrics: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Between commas; the usual ones by default.")
    ] = None

    def design(self, model: str) -> "Design":
        """What a sweep of a model measures.

        Raises:
            TypeError: a hyper-parameter that a method does not have.
            ValueError: anything else that cannot be measured.
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
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The HTML file to write.", show_default=False)
    ],
    opening: Opening,
    measuring: Measuring,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file of rows, which is added to; rows.jsonl beside the page by default."
        ),
    ] = None,
    redrawn: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Draw the page of these rows; run nothing.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the prompts.")] = 1,
    megabytes: Annotated[
        float, typer.Option(min=0, callback=finite, help="What the clips may take in the page.")
    ] = 14,
    fps: FpsOption = None,
) -> None:  # fmt: skip
    """Measure methods on a model and prompts, and write one page that shows what they gain and cost."""
    from skipstone.report.page import write_page
    from skipstone.report.workers import is_first

    with redirect_stdout(sys.stderr):
        media.check_extension(output, (".html",))
        media.check_folder(output)
        source = redrawn or rows or output.with_name("rows.jsonl")
        if redrawn is None:
            _measure(opening, measuring.design(opening.model), source, fps, workers)
        if is_first():
            write_page(read_rows(source), output, source.parent, megabytes)
    if is_first():
        print(f"wrote {output}")


def prompts_of(source: str | None, model: str, limit: int | None) -> list[str]:
    """The prompts that a user named, or else those of a bundled model.

    Raises:
        ValueError: there are none.
    """
    if source is None and model not in bundled.DEFAULTS:
        raise ValueError("name a file with prompts, one a line: --prompts FILE")
    return read_prompts(source or model)[:limit]


def _measure(opening: Opening, design: "Design", rows: Path, fps: float | None, workers: int) -> None:
    from skipstone.report.workers import spread

    check_writable(rows)
    opening.checked_class()
    if workers > 1:
        spread(workers, _work, opening, design, rows, fps)
    else:
        _work(opening, design, rows, fps)


def _work(opening: Opening, design: "Design", rows: Path, fps: float | None) -> None:
    """This process's part of the sweep; the first one shows how far it is."""
    from skipstone.commands.progress import RunBar
    from skipstone.report.sweeps import Silent
    from skipstone.report.workers import is_first

    if is_first():
        with RunBar(Console(stderr=True)) as bar:
            _sweep(opening, design, rows, fps, bar)
    else:
        _sweep(opening, design, rows, fps, Silent())


def _sweep(opening: Opening, design: "Design", rows: Path, fps: float | None, progress: "Progress") -> None:
    from skipstone.report.sweeps import sweep

    pipe, arguments = opening.open_for_many()
    rate = opening.frame_rate(fps)
    sweep(pipe, design, rows=rows, fps=rate, model=opening.model, progress=progress, **arguments)
