"""The command line: `skipstone generate`, `plan`, `report`, `check`, `methods` and `doctor`."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from skipstone.commands.options import (
    CacherOption,
    DeviceOption,
    DtypeOption,
    FpsOption,
    FramesOption,
    GuidanceOption,
    JsonOption,
    LimitOption,
    ModelOption,
    NegativeOption,
    PromptsOption,
    SeedOption,
    SettingsOption,
    SizeOption,
    StepsOption,
    finite,
    numbers,
    options_of,
    words,
)

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
        0 for success, 1 where `doctor` finds something missing or `check` something too bad, 2 for bad
        input, 130 when interrupted.
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
    model: ModelOption = "pebble-video",
    cacher: CacherOption = None,
    settings: SettingsOption = None,
    plan: Annotated[
        Path | None, typer.Option(help="Instead of a method, a plan that `skipstone plan` wrote.")
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option(
            min=1, callback=finite,
            help="Instead of a method, how many times faster to be, by a plan. The first run of a kind is "
            "made twice, to be recorded.",
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="Instead of a method, the PSNR in dB to keep, by a plan that a dozen runs find.",
        ),
    ] = None,
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Replay skipped steps as CUDA graphs where that can be done.")
    ] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every step.")] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also run without a cache; write both side by side and measure."),
    ] = False,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    size: SizeOption = None,
    frames: FramesOption = None,
    fps: FpsOption = None,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Repeat each pixel this often each way.")] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a video or an image from a text, skipping the steps that a caching method can estimate."""
    from skipstone.commands.generate import Request, carry_out, prepare

    request = Request(
        options=options_of(prompt, negative, steps, guidance, size, frames),
        output=output,
        model=model,
        caching=not no_cache,
        method=cacher,
        settings=tuple(settings or ()),
        plan=plan,
        speedup=speedup,
        quality=quality,
        graphs=graphs,
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
    model: ModelOption = "pebble-video",
    speedup: Annotated[
        float | None, typer.Option(min=1, callback=finite, help="How many times faster to be.")
    ] = None,
    computed: Annotated[int | None, typer.Option(min=1, help="How many steps to compute.")] = None,
    quality: Annotated[float | None, typer.Option(callback=finite, help="The PSNR in dB to keep.")] = None,
    refine: Annotated[int, typer.Option(min=0, help="Runs to spend on moving single steps.")] = 0,
    show: Annotated[
        Path | None, typer.Option(help="Only show this plan.", show_default=False)
    ] = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    size: SizeOption = None,
    frames: FramesOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Record a run and find out which of its steps need not be computed on runs like it."""
    from skipstone.commands.plan import PlanRequest, make_and_write
    from skipstone.schedules.plan import load_plan
    from skipstone.schedules.search import Target

    with redirect_stdout(sys.stderr), refusing(ValueError, TypeError):
        if show is not None:
            plan = load_plan(show)
        elif prompt is None:
            raise ValueError("name a prompt to record, or --show a plan")
        else:
            request = PlanRequest(
                options=options_of(prompt, negative, steps, guidance, size, frames),
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
def report(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The HTML file to write.", show_default=False)
    ],
    model: ModelOption = "pebble-video",
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Methods between commas, or `all`; settings after colons are kept: dbcache:blocks=2.",
        ),
    ] = None,
    speedups: Annotated[
        str, typer.Option(metavar="NUMBERS", help="The speeds that settings of each method are looked for.")
    ] = "1.5,2,3,5",
    prompts: PromptsOption = None,
    limit: LimitOption = None,
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="Of the noise, for each prompt.")] = "0",
    metrics: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Between commas; the usual ones by default.")
    ] = None,
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
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    size: SizeOption = None,
    frames: FramesOption = None,
    fps: FpsOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
) -> None:  # fmt: skip
    """Measure methods on a model and prompts, and write one page that shows what they gain and cost."""
    with redirect_stdout(sys.stderr), refusing(ValueError, TypeError):
        from skipstone.commands import report as making
        from skipstone.metrics import comparison
        from skipstone.report import sweeping
        from skipstone.report.workers import is_first

        if redrawn is not None:
            making.redraw(redrawn, output, megabytes)
        else:
            making.check_page(output)
            design = sweeping.Design(
                making.prompts_of(prompts, model, limit),
                numbers(seeds, int, "--seeds"),
                sweeping.expanded(words(methods, sweeping.METHODS)),
                numbers(speedups, float, "--speedups"),
                words(metrics, comparison.USUAL),
            )
            making.make(
                making.Request(
                    model=model,
                    design=design,
                    output=output,
                    rows=rows or output.with_name("rows.jsonl"),
                    options=options_of("", negative, steps, guidance, size, frames),
                    fps=fps,
                    device=device,
                    dtype=dtype,
                    workers=workers,
                    megabytes=megabytes,
                )
            )
    if is_first():
        print(f"wrote {output}")


@app.command()
def check(
    model: ModelOption = "pebble-video",
    cacher: CacherOption = None,
    settings: SettingsOption = None,
    plan: Annotated[
        Path | None, typer.Option(help="Instead of a method, a plan that `skipstone plan` wrote.")
    ] = None,
    min_psnr: Annotated[
        float | None, typer.Option(callback=finite, help="Against the uncached runs, mean over prompts, dB.")
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Of the denoising loop, median over prompts.")
    ] = None,
    prompts: PromptsOption = None,
    limit: LimitOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    size: SizeOption = None,
    frames: FramesOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Exit with 1 where a method no longer is as good or as fast as demanded: for continuous integration."""
    with redirect_stdout(sys.stderr), refusing(ValueError, TypeError):
        if plan is not None and (cacher or settings):
            raise ValueError("--plan says how to skip: drop --cacher and --set")
        from skipstone.commands import check as checking
        from skipstone.commands import report as making
        from skipstone.commands.generate import method_of

        outcome = checking.check(
            model,
            making.prompts_of(prompts, model, limit),
            method_of(model, plan, cacher, settings or ()),
            checking.Demands(min_psnr, min_speedup),
            options_of("", negative, steps, guidance, size, frames),
            seed,
            device,
            dtype,
        )
    print(json.dumps(outcome.as_dict()) if as_json else "\n".join(outcome.lines()))
    if outcome.failures:
        raise typer.Exit(1)


@app.command()
def methods(as_json: JsonOption = False) -> None:
    """List the caching methods and the predictors, where they come from, and what can be set."""
    from skipstone.commands.methods import catalogue

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
    from skipstone.commands.doctor import examine

    findings = examine()
    Console(highlight=False).print(_table((f.verdict, f.name, f.found, f.advice) for f in findings))
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)


def _table(rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return table
