"""How long a sweep will take."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.report.candidates import most_looks, rungs_for
from skipstone.report.design import METHODS, SPEEDUPS, Design
from skipstone.report.estimate import estimate
from skipstone.report.prompts import USUAL

SPEEDS = st.lists(st.floats(1.0, 40.0), min_size=1, max_size=60)
TARGETS = st.sets(st.floats(1.1, 30.0), min_size=1, max_size=5)


@given(SPEEDS, TARGETS)
def test_the_search_never_looks_more_often_than_announced(speeds: list[float], targets: set[float]) -> None:
    rising, looked = sorted(speeds), set()

    def speed(rung: int) -> float:
        looked.add(rung)
        return rising[rung]

    rungs_for(len(rising), speed, sorted(targets))
    assert len(looked) <= most_looks(len(rising), len(targets))
    assert all(a <= b for a, b in pairwise(rising))


def test_a_sweep_by_hand() -> None:
    """One prompt, one speed of 2 and one method with a single setting."""
    design = Design(["p"], (0,), ["first-block:threshold=0.1"], (2.0,), ["psnr"])
    found = estimate(design, 10.0, 1.0)
    # One look; uncached twice, plain at 1.1x, 1.25x and 2x, and the method.
    assert found.runs == 1 + 2 + 3 + 1
    assert found.loops == pytest.approx(0.6 + 2 + 1 / 1.1 + 1 / 1.25 + 1 / 2 + 1 / 2)
    assert found.seconds == pytest.approx(7 + 10 * found.loops)
    assert str(found) == "an uncached run takes 11 seconds; 7 runs at most, about 60 seconds"


def test_more_work_takes_longer_and_processes_share_it() -> None:
    small = Design(USUAL[:1], (0,), METHODS, SPEEDUPS, ["psnr"])
    large = Design(USUAL, (0, 1), METHODS, SPEEDUPS, ["psnr"])
    assert estimate(large, 1.0, 0.0).seconds > 1.9 * estimate(small, 1.0, 0.0).seconds
    assert estimate(large, 1.0, 0.0, 4).seconds == pytest.approx(estimate(large, 1.0, 0.0).seconds / 4)
    planned = Design(USUAL[:1], (0,), ("planned",), (2.0,), ["psnr"])
    assert estimate(planned, 1.0, 0.0).runs == (2 + 4) + (2 + 3 + 1)


def test_the_usual_report_takes_less_than_two_hundred_uncached_runs() -> None:
    """Below half an hour where a run takes nine seconds."""
    usual = Design(USUAL, (0,), METHODS, SPEEDUPS, ["psnr"])
    assert estimate(usual, 9.0, 0.0).seconds < 30 * 60
