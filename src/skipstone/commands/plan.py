"""`skipstone plan`: record a run, find the best plan and write it; show a plan, or share it."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from skipstone.commands.opening import Opening
from skipstone.commands.options import JsonOption, QualityOption, SeedOption, finite
from skipstone.commands.output import print_json, print_text
from skipstone.disk.writing import check_folder

if TYPE_CHECKING:
    from skipstone.commands.progress import StepLines
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
    quality: QualityOption = None,
    ssim: Annotated[
        float | None, typer.Option(callback=finite, help="The least SSIM against the uncached run.")
    ] = None,
    lpips: Annotated[
        float | None, typer.Option(callback=finite, help="The most LPIPS against the uncached run.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Prompts that a quality is promised from, such as txt with one on each line: 19 for the "
            "usual share. Without a prompt to record, the first of them is recorded.",
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="The share of prompts that a quality is promised to; 0.95 if there are enough prompts.",
        ),
    ] = None,
    refine: Annotated[int, typer.Option(min=0, help="How many more runs to improve single steps.")] = 0,
    show: Annotated[
        Path | None, typer.Option(help="Show this plan; record nothing.", show_default=False)
    ] = None,
    pull: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/REPOSITORY/NAME",
            help="Show this plan of the Hugging Face hub and write it; record nothing.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/REPOSITORY/NAME", help="Share the plan on the Hugging Face hub under this name."
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Record one run, and plan which steps later runs like it compute."""
    from skipstone.disk.hub import checked_address
    from skipstone.report.prompts import read_prompts
    from skipstone.schedules.load import load_plan
    from skipstone.schedules.promise import check_enough
    from skipstone.schedules.search import Target

    with redirect_stdout(sys.stderr):
        shared = None if push is None else checked_address(push)
        if show is not None and pull is not None:
            raise ValueError("--show and --pull: each of them names a plan, give one")
        if show is not None:
            found, written = load_plan(show), ""
        elif pull is not None:
            found, written = _pull(pull, output), f"\nwrote {output}"
        else:
            target = Target(speedup, computed, quality, ssim, lpips, share)
            known = None if prompts is None else read_prompts(prompts)
            recorded = prompt if prompt is not None or known is None else known[0]
            if recorded is None:
                raise ValueError("name a prompt to record, a file of --prompts, or a plan to --show")
            if share is not None:
                check_enough(len(known or [recorded]), share)
            asked = Asked(target, refine, known)
            found, written = _make(opening, recorded, output, asked, seed), f"\nwrote {output}"
        if shared is not None:
            repo, name = shared
            written += f"\nshared: {found.push_to_hub(repo, name=name)}"
    if as_json:
        print_json(found.summary())
    else:
        print_text(found.explain() + written)


def _pull(address: str, output: Path) -> "Plan":
    """The plan of this address on the hub, whatever files lie here; it is written, too."""
    from skipstone.disk.hub import Repository, checked_address
    from skipstone.schedules.load import shared_plan

    check_folder(output)
    repo, name = checked_address(address)
    found = shared_plan(Repository(repo), name)
    found.save(output)
    return found


@dataclass(frozen=True)
class Asked:
    """Which plan to find.

    Args:
        target: its target.
        refine: how many more runs to spend on moving single steps.
        prompts: those that a quality is promised from; None for the recorded one.
    """

    target: "Target"
    refine: int = 0
    prompts: list[str] | None = None


def _make(opening: Opening, prompt: str, output: Path, asked: Asked, seed: int) -> "Plan":
    from skipstone.commands.progress import StepLines

    check_folder(output)
    pipe, arguments = opening.open(prompt)
    with StepLines(Console(stderr=True)) as lines:
        found = find_plan(pipe, arguments, seed, asked, lines)
    found.save(output)
    return found


def find_plan(pipe: Any, arguments: dict[str, Any], seed: int, asked: Asked, lines: "StepLines") -> "Plan":
    """Record a run and find the best plan for a target, with a line for each run."""
    import torch

    from skipstone.pipelines.recording.record import record_call
    from skipstone.schedules.search import find

    generator = torch.Generator().manual_seed(seed)
    record = record_call(pipe, (), {**arguments, "generator": generator}, lines.line)
    return find(record, asked.target, asked.refine, record.judge, asked.prompts)
