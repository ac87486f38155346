"""The branch that an evaluation belongs to."""

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.run.per_task import PerTask


class CacheContexts:
    """Note the names that a pipeline gives to a model's calls by ``cache_context``.

    Args:
        model: the model. If it has ``cache_context``, its class is swapped until `restore`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._name: PerTask[str | None] = PerTask(None)
        self._swap = self._watch(model) if hasattr(model, "cache_context") else None

    @property
    def name(self) -> str | None:
        """The name of the call that begins now, or None."""
        return self._name.get()

    def restore(self) -> None:
        if self._swap is not None:
            self._swap.undo()

    def _watch(self, model: Any) -> Any:
        cls, current = type(model), self._name

        @functools.wraps(cls.cache_context)
        @contextmanager
        def cache_context(self: Any, name: str, **kwargs: Any) -> Iterator[None]:
            outer = current.get()
            with cls.cache_context(self, name, **kwargs):
                current.set(name)
                try:
                    yield
                finally:
                    current.set(outer)

        return give_subclass(model, {"cache_context": cache_context})


@dataclass(frozen=True)
class BranchKey:
    """A branch of a run.

    Args:
        name: its name in the statistics.
        conditioning: the number of its conditioning.
        ordinal: counts the uses of that name and conditioning within a step.
    """

    name: str
    conditioning: int
    ordinal: int


class BranchNames:
    """Name the evaluations of one model in one run.

    The name comes from the pipeline's ``cache_context``, if it sets one. Otherwise each conditioning gets a
    name by its order in the step in which it was first seen. The same conditioning is then the same branch,
    even if guidance is switched off later and the order within the step changes. A conditioning that is used
    again within a step is a separate branch each time: a prompt in each window of a long clip, or in a pass
    with perturbed blocks.
    """

    def __init__(self) -> None:
        self._step: int | None = None
        self._used: Counter[tuple[str | None, int]] = Counter()
        self._names: dict[int, str] = {}
        self._uses: Counter[int] = Counter()

    def next(self, context: str | None, conditioning: int, by_order: bool, step: int) -> BranchKey:
        """The branch of the evaluation that begins now.

        Args:
            context: the pipeline's name for the call, or None.
            conditioning: the number of its conditioning.
            by_order: whether only the order within the step tells branches apart.
            step: where the run is.
        """
        if step != self._step:
            self._step = step
            self._used.clear()
        ordinal = self._used[context, conditioning]
        by_number = f"branch {ordinal}" if by_order else self._by_conditioning(conditioning, ordinal)
        name = context or by_number
        self._used[context, conditioning] += 1
        return BranchKey(name, conditioning, ordinal)

    def _by_conditioning(self, conditioning: int, ordinal: int) -> str:
        if conditioning not in self._names:
            self._names[conditioning] = self._free(f"branch {self._used.total()}")
        self._uses[conditioning] += 1
        return self._names[conditioning] + ", again" * ordinal

    def _free(self, by_order: str) -> str:
        """The name by order, unless a conditioning that may be used again has that name.

        Conditionings that were used repeatedly may be used again; on the second step, so may those of the
        first step.
        """
        taken = {name for known, name in self._names.items() if self._uses[known] > 1 or self._step == 1}
        names = (by_order, *(f"branch {number}" for number in range(len(taken) + 1)))
        return next(name for name in names if name not in taken)
