"""`skipstone plan`: record a run of a pipeline, find the best plan, write it."""

from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from skipstone.commands.opening import open_pipeline
from skipstone.metrics import media
from skipstone.pipelines.opening.arguments import Options
from skipstone.pipelines.opening.sources import locate

if TYPE_CHECKING:
    from skipstone.commands.progress import StepLines
    from skipstone.pipelines.attach import Watcher
    from skipstone.schedules.plan import Plan
    from skipstone.schedules.search import Target


@dataclass(frozen=True)
class PlanRequest:
    """What the user typed.

    Args:
        options: what the pipeline is asked for.
        output: the file to write.
        model: a bundled name, a folder or a hub id.
        target: what the plan shall reach.
        refine: how many runs to spend on moving single steps.
        seed: of the initial noise.
        device: where to run, None for the fastest.
        dtype: number type, None for what suits the device.
    """

    options: Options
    output: Path
    model: str
    target: "Target"
    refine: int = 0
    seed: int = 0
    device: str | None = None
    dtype: str | None = None


def make_and_write(request: PlanRequest, console: Console) -> "Plan":
    """Make a plan, show its runs on a console, and write it.

    Raises:
        ValueError: something cannot be done as asked.
    """
    from skipstone.commands.progress import StepLines

    media.check_folder(request.output)
    source = locate(request.model)
    pipe, arguments = open_pipeline(source, request.options, request.device, request.dtype)
    with StepLines(console) as steps:
        plan = find_plan(pipe, arguments, request.seed, request.target, steps, request.refine)
    plan.save(request.output)
    return plan


def find_plan(
    pipe: Any, arguments: dict[str, Any], seed: int, target: "Target", steps: "StepLines", refine: int = 0
) -> "Plan":
    """Record a run and find the best plan for a target, with a line for each run."""
    import torch

    from skipstone.pipelines.recording.record import record_call
    from skipstone.schedules.search import find

    generator = torch.Generator().manual_seed(seed)
    record = record_call(pipe, (), {**arguments, "generator": generator}, _lines(steps))
    return find(record, target, refine)


def _lines(steps: "StepLines") -> "Watcher":
    """A line for the recorded run, for the one that candidates are compared with, and for each of theirs."""
    line: Any = None
    titles = chain(("recording", "other noise"), repeat("candidate"))

    def watch(step: Any, computed: int, skipped: int) -> None:
        nonlocal line
        if step.is_first:
            line = steps.line(next(titles))
        line(step, computed, skipped)

    return watch
