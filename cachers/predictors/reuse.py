"""Reuse: add again what the blocks added last time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.predictor import Predictor


@dataclass(frozen=True)
class Reuse(Predictor):
    """Repeat the newest computed residual.

    Use: where computed steps are far apart; extrapolating far is worse than repeating.
    Source: the estimate of TeaCache, arXiv:2411.19108, and of most caches.
    """

    name: ClassVar[str] = "reuse"
    history = 1

    def combine(self, at: float, times: Sequence[float]) -> Sequence[float]:
        return [1.0] + [0.0] * (len(times) - 1)
