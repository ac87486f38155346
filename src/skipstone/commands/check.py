"""`skipstone check`: whether a method still keeps what it promised."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skipstone.commands.choice import Choice
from skipstone.commands.opening import Opening
from skipstone.commands.options import JsonOption, LimitOption, PromptsOption, SeedOption, finite
from skipstone.commands.output import show
from skipstone.commands.report import prompts_of

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher


@dataclass(frozen=True)
class Demands:
    """What must be kept; at least one of them is given."""

    min_psnr: Annotated[
        float | None, typer.Option(callback=finite, help="Against the uncached runs, mean over prompts, dB.")
    ] = None
    min_speedup: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Of the denoising loop, median over prompts.")
    ] = None

    def __post_init__(self) -> None:
        if self.min_psnr is None and self.min_speedup is None:
            raise ValueError("demand something: --min-psnr, --min-speedup or both")

    def failures(self, psnr: float, speedup: float) -> Iterator[str]:
        """The demands that are not met, in words."""
        if self.min_psnr is not None and psnr < self.min_psnr:
            yield f"PSNR {psnr:.2f} dB is below {self.min_psnr:g}"
        if self.min_speedup is not None and speedup < self.min_speedup:
            yield f"a speedup of {speedup:.2f}x is below {self.min_speedup:g}x"


@dataclass(frozen=True)
class Checked:
    """What was measured.

    Args:
        described: the method and its hyper-parameters.
        psnr: mean over prompts, in dB.
        worst_psnr: that of the worst prompt.
        speedup: median over prompts.
        runs: pairs of a cached and an uncached run.
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
    """Exit with 1 where a method no longer is as good or as fast as demanded: for continuous integration."""
    with redirect_stdout(sys.stderr):
        shown = prompts_of(prompts, opening.model, limit)
        rows = _measured(opening, choice.make(opening.model), shown, seed)
        outcome = checked(rows, demands)
    show(outcome, as_json)
    if outcome.failures:
        raise typer.Exit(1)


def _measured(
    opening: Opening, method: "Cacher[Any]", prompts: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """A row of each prompt, cached against uncached."""
    from skipstone.pipelines.clips import warm_up
    from skipstone.report.bench import Bench, Setting
    from skipstone.report.rows import CACHED

    pipe, arguments = opening.open_for_many()
    bench = Bench(pipe, arguments, ("psnr",), opening.frame_rate(None), None, pipe.device)
    warm_up(pipe, {**arguments, "prompt": prompts[0]}, method)
    setting = Setting(CACHED, method.name, method.describe(), method)
    return [row for prompt in prompts for row in bench.rows([setting], prompt, seed)]


def checked(rows: Sequence[dict[str, Any]], demands: Demands) -> Checked:
    """What rows of one setting come to."""
    values = [row["psnr"] for row in rows]
    psnr, speedup = mean(values), median(row["speedup"] for row in rows)
    failures = tuple(demands.failures(psnr, speedup))
    return Checked(rows[0]["described"], psnr, min(values), speedup, len(rows), failures)
