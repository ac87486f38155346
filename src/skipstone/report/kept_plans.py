"""The plans of a report: one recorded run of the first prompt, and a plan for each target speed."""

from functools import cached_property
from pathlib import Path

import torch

from skipstone.pipelines.recording.record import record_call
from skipstone.report.bench import Bench
from skipstone.schedules.load import load_plan
from skipstone.schedules.plan import Plan
from skipstone.schedules.record import Record


class KeptPlans:
    """Make plans and keep them, so that a resumed sweep has the same ones.

    Args:
        bench: the pipeline.
        unit: the prompt and the seed of the recorded run.
        folder: the folder of the plans, made when the first one is written; None to keep none.
    """

    def __init__(self, bench: Bench, unit: tuple[str, int], folder: Path | None) -> None:
        self._bench, self._unit, self._folder = bench, unit, folder
        self._made: dict[float, Plan] = {}

    def of(self, speedup: float) -> Plan:
        """The plan for a target speed.

        Raises:
            ValueError: no plan reaches it, or nothing could be recorded.
        """
        if speedup not in self._made:
            self._made[speedup] = self._kept(speedup) or self._new(speedup)
        return self._made[speedup]

    @cached_property
    def _record(self) -> Record:
        prompt, seed = self._unit
        generator = torch.Generator().manual_seed(seed)
        arguments = {**self._bench.arguments, "prompt": prompt, "generator": generator}
        return record_call(self._bench.pipe, (), arguments)

    def _kept(self, speedup: float) -> Plan | None:
        path = self._path(speedup)
        return load_plan(path) if path is not None and path.exists() else None

    def _new(self, speedup: float) -> Plan:
        plan, path = self._record.plan(speedup=speedup), self._path(speedup)
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            plan.save(path)
        return plan

    def _path(self, speedup: float) -> Path | None:
        return None if self._folder is None else self._folder / f"speedup-{speedup:g}.json"
