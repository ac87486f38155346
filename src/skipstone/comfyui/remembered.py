"""The last runs of a model, and which of them are told of."""

from collections import deque
from dataclasses import dataclass

from skipstone.comfyui.told import Shape, Told, of_shape, text
from skipstone.pipelines.planning.conditions import digest
from skipstone.schedules.plan import Plan

MOST_TOLD = 8
"""How many runs are remembered."""

TOLD_BEFORE = "told before: "


@dataclass(frozen=True)
class Telling:
    """What is told at once.

    Args:
        runs: the runs.
        shape: that of the latents that it is told for; None if it is not known.
        again: whether these runs were told of before.
        plans: the plans of all runs that may have made these latents; the last run's is the last.
    """

    runs: tuple[Told, ...]
    shape: Shape | None
    again: bool
    plans: tuple[Plan, ...]

    @property
    def words(self) -> str:
        """What happened, in words."""
        said = text(self.runs, self.shape)
        return TOLD_BEFORE + said if self.again else said

    @property
    def is_certain(self) -> bool:
        """Whether all plans are for one kind of run; a kind's plan changes once its skips were timed."""
        return len({(len(plan.strip), digest(plan.record.made_for)) for plan in self.plans}) <= 1


class Remembered:
    """The last runs; several samplers may run one model, and each may have a node that tells of it."""

    def __init__(self) -> None:
        self._untold: deque[Told] = deque(maxlen=MOST_TOLD)
        self._told: deque[Told] = deque(maxlen=MOST_TOLD)
        self._last: tuple[Told, ...] = ()

    def add(self, run: Told) -> None:
        """Remember a run until it is told of, and then until others were."""
        self._untold.append(run)

    def tell(self, shape: Shape | None) -> Telling:
        """The runs since this was last asked for; if none of them made these latents, those told before.

        Args:
            shape: that of the latents; None if it is not known.
        """
        before, new = of_shape(self._told, shape), of_shape(self._untold, shape)
        if not new and (before or not self._untold):
            is_last = not before or bool(of_shape(self._last, shape))
            runs = self._last if is_last else tuple(before[-1:])
            return Telling(runs, shape, bool(runs), _plans(before))
        self._last = tuple(self._untold)
        self._told.extend(self._untold)
        self._untold.clear()
        return Telling(self._last, shape, False, _plans(new))


def _plans(runs: list[Told]) -> tuple[Plan, ...]:
    return tuple(run.plan for run in runs if run.plan is not None)
