"""`skipstone check`: does a method still keep the demanded quality and speed?"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from math import isnan, nan
from statistics import mean, median
from typing import Annotated, Any

import typer

from skipstone.commands.choice import Choice
from skipstone.commands.opening import Opening
from skipstone.commands.options import JsonOption, LimitOption, PromptsOption, SeedOption, finite
from skipstone.commands.output import show
from skipstone.commands.report import prompts_of


@dataclass(frozen=True)
class Demands:
    """The demands; at least one is given."""

    min_psnr: Annotated[
        float | None,
        typer.Option(callback=finite, help="The least PSNR against uncached runs, mean over prompts, in dB."),
    ] = None
    min_speedup: Annotated[
        float | None,
        typer.Option(
            min=0, callback=finite, help="The least speedup of the denoising loop, median over prompts."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.min_psnr is None and self.min_speedup is None:
            raise ValueError("demand something: --min-psnr, --min-speedup or both")

    def failures(self, psnr: float, speedup: float) -> Iterator[str]:
        """The demands that are not met, in words; nothing meets any that is not a number."""
        if isnan(psnr):
            yield "the PSNR is not a number: some values of the pictures are not finite"
        elif self.min_psnr is not None and not psnr >= self.min_psnr:
            yield f"PSNR {psnr:.2f} dB is below {self.min_psnr:g}"
        if self.min_speedup is not None and not speedup >= self.min_speedup:
            yield f"a speedup of {speedup:.2f}x is below {self.min_speedup:g}x"


@dataclass(frozen=True)
class Checked:
    """The measured quality and speed.

    Args:
        described: the method and its hyper-parameters.
        psnr: the mean over prompts, in dB.
        worst_psnr: the PSNR of the worst prompt, in dB.
        speedup: of the denoising loop, the median over prompts.
        runs: how many pairs of a cached and an uncached run.
        failures: the demands that were not met, in words.
    """

    described: str
    psnr: float
    worst_psnr: float
    speedup: float
    runs: int
    failures: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain values, for JSON."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The outcome in words."""
        yield (
            f"{self.described}: PSNR {self.psnr:.1f} dB on average, {self.worst_psnr:.1f} for the worst "
            f"prompt, {self.speedup:.2f}x faster ({self.runs} pair{'s' * (self.runs != 1)} of runs)"
        )
        yield from (f"failed: {failure}" for failure in self.failures)


def check(
    opening: Opening,
    choice: Choice,
    demands: Demands,
    prompts: PromptsOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a method, and exit with code 1 if its quality or speed is below the demands (for CI)."""
    with redirect_stdout(sys.stderr):
        shown = prompts_of(prompts, opening.model, limit)
        rows = _measured(opening, choice, shown, seed)
        outcome = checked(rows, demands)
    show(outcome, as_json)
    if outcome.failures:
        raise typer.Exit(1)


def _measured(opening: Opening, choice: Choice, prompts: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Measure a cached run of each prompt against the uncached one: one row each."""
    import torch

    from skipstone.pipelines.clips.clip import warm_up
    from skipstone.report.bench import Bench, Setting
    from skipstone.report.rows import CACHED

    method = None if choice.is_fitted else choice.make(opening.model)
    pipe, arguments = opening.open_for_many()
    if method is None:
        generator = torch.Generator().manual_seed(seed)
        method = choice.fit(pipe, {**arguments, "prompt": prompts[0], "generator": generator})
    bench = Bench(pipe, arguments, ("psnr",), opening.frame_rate(None), None, pipe.device)
    warm_up(pipe, {**arguments, "prompt": prompts[0]}, method)
    setting = Setting(CACHED, method.name, method.describe(), method)
    return [row for prompt in prompts for row in bench.rows([setting], prompt, seed)]


def checked(rows: Sequence[dict[str, Any]], demands: Demands) -> Checked:
    """Sum up the rows of one setting."""
    values = [nan if row["psnr"] is None else row["psnr"] for row in rows]
    psnr, speedup = mean(values), median(row["speedup"] for row in rows)
    worst = psnr if isnan(psnr) else min(values)
    failures = tuple(demands.failures(psnr, speedup))
    return Checked(rows[0]["described"], psnr, worst, speedup, len(rows), failures)
