"""`skipstone plan`: record a run, find the best plan and write it; or show a plan."""

import sys
from contextlib import redirect_stdout
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from skipstone.commands.opening import Opening
from skipstone.commands.options import JsonOption, SeedOption, finite
from skipstone.commands.output import print_json, print_text
from skipstone.disk.writing import check_folder

if TYPE_CHECKING:
    from skipstone.commands.progress import StepLines
    from skipstone.pipelines.attach import Watcher
    from skipstone.schedules.plan import Plan
    from skipstone.schedules.search import Target


def plan(
    opening: Opening,
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt to record; not with --show.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file of the plan.")] = Path("plan.json"),
    speedup: Annotated[
        float | None, typer.Option(min=1, callback=finite, help="Target speedup of the denoising loop.")
    ] = None,
    computed: Annotated[int | None, typer.Option(min=1, help="Target number of computed steps.")] = None,
    quality: Annotated[
        float | None, typer.Option(callback=finite, help="Target PSNR in dB against the uncached run.")
    ] = None,
    refine: Annotated[int, typer.Option(min=0, help="How many more runs to improve single steps.")] = 0,
    show: Annotated[
        Path | None, typer.Option(help="Show this plan; record nothing.", show_default=False)
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Record one run, and plan which steps later runs like it compute."""
    from skipstone.schedules.load import load_plan
    from skipstone.schedules.search import Target

    with redirect_stdout(sys.stderr):
        if show is not None:
            found, written = load_plan(show), ""
        elif prompt is None:
            raise ValueError("name a prompt to record, or --show a plan")
        else:
            target = Target(speedup, computed, quality)
            found, written = _make(opening, prompt, output, target, seed, refine), f"\nwrote {output}"
    if as_json:
        print_json(found.summary())
    else:
        print_text(found.explain() + written)


def _make(opening: Opening, prompt: str, output: Path, target: "Target", seed: int, refine: int) -> "Plan":
    from skipstone.commands.progress import StepLines

    check_folder(output)
    pipe, arguments = opening.open(prompt)
    with StepLines(Console(stderr=True)) as lines:
        found = find_plan(pipe, arguments, seed, target, lines, refine)
    found.save(output)
    return found


def find_plan(
    pipe: Any, arguments: dict[str, Any], seed: int, target: "Target", lines: "StepLines", refine: int = 0
) -> "Plan":
    """Record a run and find the best plan for a target, with a line for each run."""
    import torch

    from skipstone.pipelines.recording.record import record_call
    from skipstone.schedules.search import find

    generator = torch.Generator().manual_seed(seed)
    record = record_call(pipe, (), {**arguments, "generator": generator}, _watcher(lines))
    return find(record, target, refine, record.judge)


def _watcher(lines: "StepLines") -> "Watcher":
    """Show one line for the recorded run, one for the reference, and one for each candidate."""
    line: Any = None
    titles = chain(("recording", "other noise"), repeat("candidate"))

    def watch(step: Any, computed: int, skipped: int) -> None:
        nonlocal line
        if step.is_first:
            line = lines.line(next(titles))
        line(step, computed, skipped)

    return watch
