"""What every method must do, on toys and on tiny pipelines of real classes."""

from collections.abc import Callable
from typing import Any

import pytest

import skipstone
from skipstone.testing import Case, ShortRun, on_pipelines, on_toys
from support import tiny
from support.methods import METHODS, ON_STACKS, UNETS, pipelines_of
from support.tiny_pipelines import PIPELINES

EXACT = {"shared-prefix"}
"""Methods that estimate nothing, with tests of their own: tests/pipelines/causal/test_shared_prefix.py."""

ON_PIPELINES = (*on_pipelines.CHECKS, *on_pipelines.REPEATS)

everywhere = pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case, name, id=f"{name}-{case.name}") for case in METHODS for name in pipelines_of(case)],
)


@pytest.fixture(scope="module")
def runs() -> dict[str, ShortRun]:
    """A short run of each tiny pipeline."""
    unets = {name: PIPELINES[name].make for name in UNETS}
    made = {name: make() for name, make in {**tiny.PIPELINES, **unets}.items()}
    for run in made.values():
        run.uncached  # noqa: B018
    return made


def test_every_method_is_in_the_shared_list() -> None:
    own = {name for name, cls in skipstone.METHODS.items() if cls.__module__.startswith("skipstone.")}
    assert {case.name for case in METHODS} == own - EXACT


@pytest.mark.parametrize("check", ON_PIPELINES, ids=lambda check: check.__name__)
@everywhere
def test_on_pipelines(check: Callable[..., None], case: Case, name: str, runs: Any) -> None:
    check(case, runs[name])


@pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
@pytest.mark.parametrize("check", on_pipelines.ONCE, ids=lambda check: check.__name__)
def test_on_one_pipeline(check: Callable[..., None], case: Case, runs: Any) -> None:
    check(case, runs[pipelines_of(case)[0]])


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{check.__name__}-{case.name}")
        for case in METHODS
        for check in on_toys.checks(case)
    ],
)
def test_on_toys(case: Case, check: Callable[[Case], None]) -> None:
    check(case)


@pytest.mark.parametrize(
    "case", [case for case in ON_STACKS if case.sees_the_step], ids=lambda case: case.name
)
def test_nan_is_named(case: Case) -> None:
    _, stats = on_toys.played(case.settings[-1], on_toys.nan_at(3))
    assert "the probe is not finite" in stats.reasons
