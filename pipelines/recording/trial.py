"""One call of a calibration: its uncached run, and runs of plans that are compared with it."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.fora import FORA
from skipstone.cachers.planned import Planned
from skipstone.pipelines.recording.measurements import Measurements, key_of
from skipstone.pipelines.run.stats import RunStats
from skipstone.schedules.calibration import Shown
from skipstone.schedules.plan import Plan
from skipstone.schedules.promise import Goal, Metric


class Call(Protocol):
    """A call of a pipeline that can be repeated with the same noise."""

    def under(self, method: Cacher[Any], title: str) -> tuple[Tensor, RunStats]:
        """Make it with a method and a title for its progress bar; return the pictures and the statistics."""


class CallTrial:
    """Run a call with plans, and measure the pictures; as of `skipstone.schedules.calibration.Trial`.

    Args:
        call: the call.
        prompts: how many prompts it has.
        name: what tells it from other calls of the calibration.
        kept: what earlier runs have shown.
    """

    def __init__(self, call: Call, prompts: int, name: str, kept: Measurements) -> None:
        self._call = call
        self._prompts = prompts
        self._name = name
        self._kept = kept
        self._uncached: Tensor | None = None

    @property
    def prompts(self) -> int:
        return self._prompts

    @property
    def is_ready(self) -> bool:
        return self._uncached is not None

    def prepare(self, title: str) -> None:
        self._uncached, _ = self._call.under(FORA(1), title)

    def known(self, plan: Plan, metric: Metric) -> Shown | None:
        return self._kept.of(key_of(plan, self._name, metric))

    def run(self, plan: Plan, metric: Metric, title: str) -> Shown:
        assert self._uncached is not None
        made, run = self._call.under(Planned(plan), title)
        values = {name: measured(made, self._uncached, name) for name in dict.fromkeys(("psnr", metric))}
        shown = Shown(
            self._by_prompt(values[metric], Goal(metric, 0.0).worst),
            self._by_prompt(values["psnr"], Goal("psnr", 0.0).worst),
            self._by_prompt(run.deviations, max) if run.deviations else (),
        )
        self._kept.add(key_of(plan, self._name, metric), shown)
        return shown

    def _by_prompt(
        self, values: Sequence[float], worst: Callable[[Sequence[float]], float]
    ) -> tuple[float, ...]:
        """One value for each prompt: the worst of several pictures of one."""
        return tuple(worst([value]) for value in values) if len(values) == self._prompts else (worst(values),)


def measured(made: Tensor, wanted: Tensor, metric: Metric) -> list[float]:
    """How close pictures are to those of the uncached run, in their pixels.

    Raises:
        ValueError: they cannot be measured so.
    """
    from skipstone.metrics import compare

    found = [compare(one, other, (metric,)) for one, other in zip(made, wanted, strict=True)]
    for comparison in found:
        if metric in comparison.skipped:
            raise ValueError(f"{metric} cannot be measured here: {comparison.skipped[metric]}")
    return [one.scores[metric].value for one in found]
