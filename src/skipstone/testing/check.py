"""Checks of one method, one by one or all at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from skipstone.cachers.contract.guidance import Guidance
from skipstone.testing import on_pipelines, on_savers, on_toys
from skipstone.testing.case import Case, Checked, case_of
from skipstone.testing.short_run import ShortRun

STEPS = 8
"""The steps of the run that methods are checked on."""


@dataclass(frozen=True)
class Check:
    """One thing that a method must do; call it to check that.

    Args:
        name: what the method must do.
        run: raises an `AssertionError` if the method does not do it.
    """

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()

    def __str__(self) -> str:
        return self.name


def method_checks(method: Checked, run: ShortRun | None = None) -> list[Check]:
    """The checks of a method, for ``pytest.mark.parametrize("check", method_checks(...), ids=str)``.

    Args:
        method: a method in a setting that skips wherever its rules allow, or a `Case` with more about it. A
            predictor is checked with every other step computed, a guidance saver with all steps computed.
        run: the run to check it on; by default eight steps of the bundled ``pebble-image``.
    """
    case = case_of(method)
    made = bundled if run is None else (lambda: run)
    on_real_ones = (*on_pipelines.checks(case), *on_pipelines.ONCE)
    savers = [method] if isinstance(method, Guidance) else []
    return [
        *(Check(_words(check), partial(check, saver)) for saver in savers for check in on_savers.CHECKS),
        *(Check(_words(check), partial(check, case)) for check in on_toys.checks(case)),
        *(Check(_words(check), partial(_on, made, check, case)) for check in on_real_ones),
    ]


def check_method(method: Checked, run: ShortRun | None = None) -> None:
    """Check everything that every method, predictor or guidance saver must do.

    Args:
        method: a method in a setting that skips wherever its rules allow, or a `Case` with more about it.
        run: the run to check it on; by default eight steps of the bundled ``pebble-image``.

    Raises:
        AssertionError: the first thing that the method does not do.
    """
    for check in method_checks(method, run):
        try:
            check()
        # An error in the method is a finding too.
        except Exception as why:
            raise AssertionError(f"{check}: {why}") from why


@cache
def bundled() -> ShortRun:
    """A short run of a bundled pipeline."""
    from skipstone.pipelines.bundled import load

    pipe = load("pebble-image")
    pipe.set_progress_bar_config(disable=True)
    # Most of its time goes into long texts.
    small = {"height": 64, "width": 64, "max_sequence_length": 32, "num_inference_steps": STEPS}
    return ShortRun(pipe, {"prompt": "a red circle on a blue background", **small})


def _on(made: Callable[[], ShortRun], check: Callable[[Case, ShortRun], None], case: Case) -> None:
    """Check on a run that is made when it is needed."""
    check(case, made())


def _words(check: Callable[..., None]) -> str:
    return check.__name__.replace("_", " ")
