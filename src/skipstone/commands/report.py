"""`skipstone report`, step by step: refuse what cannot work, load, sweep, write the page."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from skipstone.commands.opening import open_pipeline
from skipstone.commands.progress import RunBar
from skipstone.metrics import media
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.arguments import Options, check_options, makes_video
from skipstone.pipelines.opening.sources import Source, locate, pipeline_class
from skipstone.report.cases import MEGABYTES
from skipstone.report.page import write_page
from skipstone.report.prompts import read_prompts
from skipstone.report.rows import check_writable, read_rows
from skipstone.report.sweeping import Design, Progress, Silent, sweep
from skipstone.report.workers import is_first, local_rank, spread


@dataclass(frozen=True)
class Request:
    """What the user typed.

    Args:
        model: a bundled name, a folder or a hub id.
        design: what is measured.
        options: what the pipeline is asked for; their prompt is not used.
        output: the HTML file to write.
        rows: the file of rows.
        fps: frames a second of a video, None for 16.
        device: where to run, None for the fastest.
        dtype: number type, None for what suits the device.
        workers: processes that share the prompts.
        megabytes: what the clips may take in the page.
    """

    model: str
    design: Design
    output: Path
    rows: Path
    options: Options = field(default_factory=lambda: Options(""))
    fps: float | None = None
    device: str | None = None
    dtype: str | None = None
    workers: int = 1
    megabytes: float = MEGABYTES


def prompts_of(source: str | None, model: str, limit: int | None) -> list[str]:
    """The prompts that a user named, or else those of a bundled model.

    Raises:
        ValueError: there are none.
    """
    if source is None and model not in bundled.DEFAULTS:
        raise ValueError("name a file with prompts, one a line: --prompts FILE")
    return read_prompts(source or model)[:limit]


def redraw(rows: Path, output: Path, megabytes: float = MEGABYTES) -> None:
    """Write the page of rows that were measured before.

    Raises:
        ValueError: the rows cannot be read, or the page not be written.
    """
    check_page(output)
    write_page(read_rows(rows), output, rows.parent, megabytes)


def check_page(output: Path) -> None:
    """Refuse a file that the page cannot be written to.

    Raises:
        ValueError: another ending than html, or a folder that is missing or not writable.
    """
    media.check_extension(output, (".html",))
    media.check_folder(output)


def make(request: Request) -> None:
    """Measure and write the page.

    Raises:
        TypeError: a hyper-parameter that a method does not have.
        ValueError: anything else that cannot be done as asked.
    """
    check_page(request.output)
    check_writable(request.rows)
    source = locate(request.model)
    check_options(pipeline_class(source), request.options)
    if request.workers > 1:
        spread(request.workers, measure, request)
    else:
        measure(request)
    if is_first():
        write_page(read_rows(request.rows), request.output, request.rows.parent, request.megabytes)


def measure(request: Request) -> None:
    """This process's part of the sweep; the first one shows how far it is."""
    if is_first():
        with RunBar(Console(stderr=True)) as bar:
            _measure(request, bar)
    else:
        _measure(request, Silent())


def _measure(request: Request, progress: Progress) -> None:
    source, design = locate(request.model), request.design
    pipe, arguments = ready(source, request.options, request.device, request.dtype)
    sweep(
        pipe,
        design.prompts,
        seeds=design.seeds,
        methods=design.methods,
        speedups=design.speedups,
        metrics=design.metrics,
        rows=request.rows,
        fps=frame_rate(source, request.fps),
        model=request.model,
        progress=progress,
        **arguments,
    )


def frame_rate(source: Source, asked: float | None) -> float | None:
    """Frames a second of what a model makes, None where it makes pictures."""
    return (asked or bundled.FPS) if makes_video(pipeline_class(source)) else None


def ready(
    source: Source, options: Options, device: str | None, dtype: str | None
) -> tuple[Any, dict[str, Any]]:
    """A pipeline on this process's device, and the arguments of its call without the prompt."""
    place = f"cuda:{local_rank()}" if device == "cuda" or (device is None and _has_cuda()) else device
    pipe, arguments = open_pipeline(source, replace(options, prompt=""), place, dtype)
    del arguments["prompt"]
    return pipe, arguments


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
