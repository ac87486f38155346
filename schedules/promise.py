"""A quality that is promised to a share of prompts, and what a calibration must show for it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from skipstone.declared import Declared

GROWTH = 1.1
"""How many times as many steps the next denser plan of a calibration computes."""

SLACK = 1e-9
"""What rounding may do to a share."""

CONFIDENCE = 0.9
"""How often a calibration's prompts are not luckier than `surely_kept` takes them to be."""

USUAL_SHARE = 0.95
"""The share of prompts that a quality is promised to unless another one is asked for."""

MISSED = {"psnr": 0.0, "ssim": 0.0, "lpips": 1e6}
"""What a picture that is not finite counts as."""

TITLES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}

Metric = Literal["psnr", "ssim", "lpips"]
"""How close a picture is to that of the uncached run; names of `skipstone.metrics.METRICS`."""

PromisedShare = Annotated[float, Gt(0.5), Lt(1)]
"""The share of prompts that a quality is promised to."""


@dataclass(frozen=True)
class Goal(Declared):
    """A quality to keep, of the picture against that of the uncached run.

    Args:
        metric: how it is measured.
        value: the least PSNR in dB or SSIM, or the most LPIPS.
    """

    metric: Metric
    value: float

    def is_kept(self, value: float) -> bool:
        """Whether a picture has the quality."""
        return value <= self.value if self.metric == "lpips" else value >= self.value

    def worst(self, values: Iterable[float]) -> float:
        """The worst of several pictures, of which those that are not finite have no quality at all."""
        known = [value if math.isfinite(value) else MISSED[self.metric] for value in values]
        return max(known) if self.metric == "lpips" else min(known)

    def __str__(self) -> str:
        if self.metric == "lpips":
            return f"LPIPS of at most {self.value:g}"
        return f"{TITLES[self.metric]} of at least {self.value:g}" + " dB" * (self.metric == "psnr")


@dataclass(frozen=True)
class Promise(Declared):
    """What a calibration has shown of a plan.

    It holds for prompts and noise like the calibrated ones, in runs such as the plan's record was made for.

    Args:
        goal: the quality.
        share: the share of other prompts that keep it, on average over calibrations; None where there were
            too few prompts to promise anything.
        values: what was measured on each prompt.
    """

    goal: Goal
    share: PromisedShare | None
    values: tuple[float, ...]

    @property
    def prompts(self) -> int:
        """How many prompts were calibrated."""
        return len(self.values)

    @property
    def failures(self) -> int:
        """How many of them missed the quality."""
        return sum(not self.goal.is_kept(value) for value in self.values)

    def __str__(self) -> str:
        kept = f"{self.goal}, kept by {self.prompts - self.failures} of {self.prompts} calibrated prompts"
        if self.share is None:
            return f"{kept}: promised to no others; {what_would_do(self.prompts)}"
        return f"{self.goal}, promised to {_percent(self.share)} in 100 prompts like these"

    def summary(self) -> dict[str, object]:
        """The promise as plain values."""
        numbers = {"share": self.share, "prompts": self.prompts, "failures": self.failures}
        return {"metric": self.goal.metric, "value": self.goal.value, **numbers}

    def explain(self) -> str:
        """The promise, and what it rests on."""
        if self.share is None:
            return str(self)
        sure = _percent(surely_kept(self.prompts, self.failures))
        return (
            f"{self}: kept by {self.prompts - self.failures} of {self.prompts} in the calibration, and by "
            f"at least {sure} in 100 in nine of ten such calibrations"
        )


def what_would_do(prompts: int) -> str:
    """How many prompts are needed, and what can be promised with so many."""
    needed = prompts_needed(USUAL_SHARE)
    usual = f"{needed} prompts are needed to promise it to {_percent(USUAL_SHARE)} in 100"
    most = promised_share(prompts, 0)
    if most <= 0.5:
        return usual
    return f"{usual}; with {prompts}, share={math.floor(1000 * most + SLACK) / 1000:g} can be promised"


def _percent(share: float) -> str:
    return f"{math.floor(1000 * share + SLACK) / 10:g}"


def budgets(least: int, most: int) -> Iterator[int]:
    """Numbers of computed steps that a calibration tries, rising, fixed before anything is measured."""
    while least < most:
        yield least
        least = max(least + 1, round(GROWTH * least))
    if least >= most > 0:
        yield most


def prompts_needed(share: float) -> int:
    """The fewest prompts from which a quality can be promised to a share of others."""
    return math.ceil(share / (1 - share) - SLACK)


def check_enough(prompts: int, share: float) -> None:
    """Refuse a share for which there are too few prompts.

    Raises:
        ValueError: there are; the message says how many are needed, and what can be promised with these.
    """
    if prompts < prompts_needed(share):
        needed = prompts_needed(share)
        instead = what_would_do(prompts)
        raise ValueError(f"a share of {share:g} needs {needed} prompts, got {prompts}: {instead}")


def failures_allowed(prompts: int, share: float) -> int:
    """How many of the prompts may miss the quality, so that it can be promised; -1 where none is too many."""
    return math.floor((1 - share) * (prompts + 1) + SLACK) - 1


def promised_share(prompts: int, failures: int) -> float:
    """The share of other prompts, on average over calibrations, that keep what so many prompts missed.

    A new prompt is as likely to be the one that fails as any of the calibrated ones.
    """
    return 1 - (failures + 1) / (prompts + 1)


def surely_kept(prompts: int, failures: int) -> float:
    """The share of other prompts that keep the quality with `CONFIDENCE`, whatever these prompts were.

    The bound of Clopper and Pearson: with a smaller share so few failures would be rarer than that.
    """
    low, high = 0.0, 1.0
    while high - low > SLACK:
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(prompts, failures, middle) < 1 - CONFIDENCE else (low, middle)
    return low


def _chance(prompts: int, failures: int, share: float) -> float:
    """How likely at most so many prompts fail, where each is kept with this chance."""
    return sum(math.comb(prompts, n) * (1 - share) ** n * share ** (prompts - n) for n in range(failures + 1))
