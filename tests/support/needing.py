"""Prompts of which it is known how many computed steps they need."""

from skipstone.schedules.calibration import Shown
from skipstone.schedules.plan import Plan
from skipstone.schedules.promise import Metric


class Needing:
    """A prompt that keeps 30 dB with so many computed steps and 20 dB with fewer."""

    def __init__(self, computed: int, known: bool = False) -> None:
        self.needs = computed
        self.prompts = 1
        self.is_ready = False
        self.titles: list[str] = []
        self.was_known = known

    def prepare(self, title: str) -> None:
        self.is_ready = True
        self.titles.append(title)

    def known(self, plan: Plan, metric: Metric) -> Shown | None:
        return self._shown(plan) if self.was_known else None

    def run(self, plan: Plan, metric: Metric, title: str) -> Shown:
        assert self.is_ready
        self.titles.append(title)
        return self._shown(plan)

    def _shown(self, plan: Plan) -> Shown:
        value = 30.0 if plan.computed >= self.needs else 20.0
        return Shown((value,), (value,), (1.0 / plan.computed,))
