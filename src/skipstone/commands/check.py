"""`skipstone check`: whether a setting still keeps what it promised."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.commands.report import frame_rate, ready
from skipstone.pipelines.generate import warm_up
from skipstone.pipelines.opening.arguments import Options, check_options
from skipstone.pipelines.opening.sources import locate, pipeline_class
from skipstone.report.measuring import CACHED, Bench, Setting


@dataclass(frozen=True)
class Demands:
    """What a setting must keep.

    Args:
        psnr: mean over prompts against the uncached runs, in dB; None for any.
        speedup: of the denoising loop, median over prompts; None for any.

    Raises:
        ValueError: nothing is demanded.
    """

    psnr: float | None = None
    speedup: float | None = None

    def __post_init__(self) -> None:
        if self.psnr is None and self.speedup is None:
            raise ValueError("demand something: --min-psnr, --min-speedup or both")


@dataclass(frozen=True)
class Outcome:
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
    model: str,
    prompts: Sequence[str],
    method: Cacher[Any],
    demands: Demands,
    options: Options,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
) -> Outcome:
    """Run a model cached and uncached, and hold the result against what is demanded.

    Args:
        model: a bundled name, a folder or a hub id.
        prompts: what is shown, one pair of runs each.
        method: the caching method.
        demands: what must be kept.
        options: what the pipeline is asked for; their prompt is not used.
        seed: of the initial noise.
        device: where to run, None for the fastest.
        dtype: number type, None for what suits the device.

    Raises:
        ValueError: something cannot be done as asked.
    """
    source = locate(model)
    check_options(pipeline_class(source), options)
    pipe, arguments = ready(source, options, device, dtype)
    bench = Bench(pipe, arguments, ("psnr",), frame_rate(source, None), None, pipe.device)
    warm_up(pipe, {**arguments, "prompt": prompts[0]}, method)
    setting = Setting(CACHED, method.name, method.describe(), method)
    rows = [row for prompt in prompts for row in bench.rows([setting], prompt, seed)]
    return judged(rows, demands)


def judged(rows: Sequence[dict[str, Any]], demands: Demands) -> Outcome:
    """What rows of one setting come to."""
    values = [row["psnr"] for row in rows]
    psnr, speedup = mean(values), median(row["speedup"] for row in rows)
    failures = []
    if demands.psnr is not None and psnr < demands.psnr:
        failures.append(f"PSNR {psnr:.2f} dB is below {demands.psnr:g}")
    if demands.speedup is not None and speedup < demands.speedup:
        failures.append(f"a speedup of {speedup:.2f}x is below {demands.speedup:g}x")
    return Outcome(rows[0]["described"], psnr, min(values), speedup, len(rows), tuple(failures))
