"""What a sweep measures, checked before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from skipstone.cachers.predictors.reuse import Reuse
from skipstone.cachers.registry import METHODS as ALL_METHODS
from skipstone.cachers.registry import PREDICTORS, SAVERS
from skipstone.metrics.comparison import USUAL, chosen
from skipstone.report.candidates import FITTED, Candidate, candidate
from skipstone.report.fits import FITS, fit_of

SPEEDUPS = (1.5, 2.0, 3.0, 5.0)
"""The default target speeds."""

METHODS = ("planned", "first-block", "teacache", "easycache", "seacache")
"""The default methods, which work on any transformer."""


@dataclass(frozen=True)
class Design:
    """What a sweep measures.

    Args:
        prompts: the prompts.
        seeds: seeds of the initial noise; every prompt runs with each.
        methods: as `skipstone.attach` takes them, with settings after colons: ``dbcache:blocks=2``.
        speedups: the target speeds, against computing every step; a setting of each method is searched for
            each.
        metrics: the names of the quality metrics.

    Raises:
        TypeError: a method has no such hyper-parameter.
        ValueError: an unknown method or metric, a value out of range, or nothing to measure. A method whose
            values are refused is left out if there are others.
    """

    prompts: Sequence[str]
    seeds: Sequence[int] = (0,)
    methods: Sequence[str] = METHODS
    speedups: Sequence[float] = SPEEDUPS
    metrics: Sequence[str] = USUAL

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "methods", "metrics"):
            if not getattr(self, name):
                raise ValueError(f"a report needs {name}: give at least one")
        if not all(1 < speedup <= 100 for speedup in self.speedups) or not self.speedups:
            raise ValueError(f"speedups must be numbers above 1 and at most 100, got {list(self.speedups)}")
        if not all(0 <= seed < 2**63 for seed in self.seeds):
            raise ValueError(f"seeds must be whole numbers from 0 to 2**63 - 1, got {list(self.seeds)}")
        chosen(self.metrics)
        for found in self.candidates:
            if found.is_fitted:
                fit_of(found)
        refusals = [found.refusal for found in self.candidates]
        if all(refusals):
            raise ValueError(refusals[0])

    @property
    def candidates(self) -> list[Candidate]:
        return [candidate(text) for text in self.methods]

    @property
    def units(self) -> list[tuple[str, int]]:
        return [(prompt, seed) for prompt in self.prompts for seed in self.seeds]


def expanded(methods: Sequence[str]) -> list[str]:
    """Expand `all`: every method, the fitted ones too, and what is added to methods, at even intervals."""
    fits = [f"{name}:{FITTED}" for name in FITS]
    predicted = [f"fora+{name}" for name in (*PREDICTORS, *SAVERS) if name != Reuse.name]
    everything = [*sorted(ALL_METHODS), *fits, *predicted]
    found = (name for method in methods for name in (everything if method == "all" else [method]))
    return list(dict.fromkeys(found))
