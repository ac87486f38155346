"""The command line: `skipstone generate`, `plan`, `methods` and `doctor`."""

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(
    help="Skip denoising steps of diffusers pipelines, and say what it cost.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


class RefusedError(typer.TyperException):
    """Something that cannot be done as asked, in words for the user."""

    exit_code = 2


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; what a user got wrong becomes one line on standard error.

    Args:
        arguments: what was typed after ``skipstone``; nothing shows the help.

    Returns:
        0 for success, 1 where `doctor` finds something missing, 2 for bad input, 130 when interrupted.
    """
    try:
        return app(args=list(arguments) or ["--help"], prog_name="skipstone", standalone_mode=False) or 0
    except typer.TyperException as error:
        print("error:", " ".join(error.format_message().split()), file=sys.stderr)
        return 2


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line for the user."""
    try:
        yield
    except kinds as error:
        raise RefusedError(str(error)) from error


def _show_version(wanted: bool) -> None:
    if wanted:
        from skipstone import __version__

        print(f"skipstone {__version__}")
        raise typer.Exit


@app.callback()
def _skipstone(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that belong to no command."""


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def _size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x128.")
    return value


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to show.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", show_default=False,
            help="The file to write: mp4, gif, webp or png (a contact sheet) for videos; png, jpg or webp "
            "for images.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="pebble-video, pebble-image, a folder with a diffusers pipeline, or a hub id.")
    ] = "pebble-video",
    cacher: Annotated[
        str | None, typer.Option(help="The caching method (see `skipstone methods`); teacache by default.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyper-parameter of the method.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Instead of a method, a plan that `skipstone plan` wrote.")
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option(
            min=1, callback=_finite,
            help="Instead of a method, how many times faster to be, by a plan. The first run of a kind is "
            "made twice, to be recorded.",
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            callback=_finite,
            help="Instead of a method, the PSNR in dB to keep, by a plan that a dozen runs find.",
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every step.")] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also run without a cache; write both side by side and measure."),
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the solver.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="How strongly the prompt steers.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What not to show.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", callback=_size, help="Width and height in pixels.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a video.")] = None,
    fps: Annotated[
        float | None, typer.Option(min=1, max=120, callback=_finite, help="Of a video; 16 by default.")
    ] = None,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Repeat each pixel this often each way.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the initial noise.")] = 0,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest by default.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16; by default float32 on a CPU and for bundled models, else "
            "bfloat16."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a video or an image from a text, skipping the steps that a caching method can estimate."""
    from skipstone.generation import Request, carry_out, prepare
    from skipstone.pipelines.arguments import Options

    width, height = (int(side) for side in size.split("x")) if size else (None, None)
    options = Options(prompt, negative, steps, guidance, width, height, frames)
    request = Request(
        options=options,
        output=output,
        model=model,
        caching=not no_cache,
        method=cacher,
        settings=tuple(settings or ()),
        plan=plan,
        speedup=speedup,
        quality=quality,
        seed=seed,
        fps=fps,
        scale=scale,
        compare=compare,
        device=device,
        dtype=dtype,
    )
    with redirect_stdout(sys.stderr):
        with refusing(ValueError, TypeError):
            job = prepare(request)
        with refusing(ValueError):
            result = carry_out(job, Console(stderr=True))
    if as_json:
        print(json.dumps(result.as_dict(), allow_nan=False))
    else:
        print("\n".join(result.lines()))


@app.command("plan")
def make_plan(
    prompt: Annotated[
        str | None, typer.Argument(help="What to record; not with --show.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("plan.json"),
    model: Annotated[
        str, typer.Option(help="pebble-video, pebble-image, a folder with a diffusers pipeline, or a hub id.")
    ] = "pebble-video",
    speedup: Annotated[
        float | None, typer.Option(min=1, callback=_finite, help="How many times faster to be.")
    ] = None,
    computed: Annotated[int | None, typer.Option(min=1, help="How many steps to compute.")] = None,
    quality: Annotated[float | None, typer.Option(callback=_finite, help="The PSNR in dB to keep.")] = None,
    refine: Annotated[int, typer.Option(min=0, help="Runs to spend on moving single steps.")] = 0,
    show: Annotated[
        Path | None, typer.Option(help="Only show this plan.", show_default=False)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the solver.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, callback=_finite, help="How strongly the prompt steers.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What not to show.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", callback=_size, help="Width and height in pixels.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a video.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the initial noise.")] = 0,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest by default.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; what suits the device by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Record a run and find out which of its steps need not be computed on runs like it."""
    from skipstone.pipelines.arguments import Options
    from skipstone.planning import PlanRequest, make_and_write
    from skipstone.schedules.plan import load_plan
    from skipstone.schedules.search import Target

    with redirect_stdout(sys.stderr), refusing(ValueError, TypeError):
        if show is not None:
            plan = load_plan(show)
        elif prompt is None:
            raise ValueError("name a prompt to record, or --show a plan")
        else:
            width, height = (int(side) for side in size.split("x")) if size else (None, None)
            request = PlanRequest(
                options=Options(prompt, negative, steps, guidance, width, height, frames),
                output=output,
                model=model,
                target=Target(speedup, computed, quality),
                refine=refine,
                seed=seed,
                device=device,
                dtype=dtype,
            )
            plan = make_and_write(request, Console(stderr=True))
    if as_json:
        print(json.dumps(plan.summary(), allow_nan=False))
        return
    print(plan.explain())
    if show is None:
        print(f"wrote {output}")


@app.command()
def methods(as_json: JsonOption = False) -> None:
    """List the caching methods and the predictors, where they come from, and what can be set."""
    from skipstone.catalogue import catalogue

    found = catalogue()
    if as_json:
        print(json.dumps({"methods": [method.as_dict() for method in found]}))
        return
    console = Console(highlight=False, soft_wrap=True)
    for method in found:
        name = method.name if method.kind == "method" else f"+{method.name}"
        console.print(f"[bold]{name}[/bold]  {method.claim}")
        console.print(f"  Source: {method.source}", markup=False)
        console.print(_table(("", p.name, str(p.default), p.meaning) for p in method.parameters), "")


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and what to do about it."""
    from skipstone.doctor import examine

    findings = examine()
    Console(highlight=False).print(_table((f.verdict, f.name, f.found, f.advice) for f in findings))
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)


def _table(rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return table
