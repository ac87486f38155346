"""The settings that a report looks for."""

import math
from dataclasses import replace

import pytest

from skipstone.cachers import METHODS, AdaCache, MagCache, Planned
from skipstone.report.candidates import candidate, climb, rungs_for, within
from skipstone.report.design import Design
from skipstone.schedules.published.codebooks import Codebook, published


def test_a_plan_has_no_ladder_and_no_settings() -> None:
    assert candidate("planned").rungs == ()
    with pytest.raises(ValueError, match="planned has no settings, got 'speedup=2': leave it out"):
        candidate("planned:speedup=2")


@pytest.mark.parametrize("name", sorted(set(METHODS) - {Planned.name}))
def test_every_rung_of_every_method_can_be_climbed(name: str) -> None:
    found = candidate(name)
    made = [found.method(rung) for rung in range(len(found.rungs))]
    assert {method.name for method in made} == {name}
    assert len(set(made)) == len(made)


def test_a_faster_codebook_never_lets_fewer_steps_be_skipped() -> None:
    """The one for 100 steps does at some changes, so it is no rung."""
    books = [published(rung["codebook"]) for rung in AdaCache.ladder]
    rates = [[book.rate(change / 100) for change in range(120)] for book in books]
    assert all(strict <= loose for strict, loose in zip(*rates, strict=True))
    assert rates[0] != rates[1]


def test_speeds_out_of_reach_are_spread_over_those_within() -> None:
    assert within([2, 1.5, 5], 5.0) == [1.5, 2, 5]
    assert within([1.5, 9], 4.0) == [2, 4]


def test_each_speed_has_a_setting_of_its_own() -> None:
    """Intervals of 2 to 6 steps are the nearest to 1.5 to 5 times the speed, and none is taken twice."""
    assert rungs_for(19, lambda rung: rung + 2.0, [1.5, 2, 3, 4, 5]) == [0, 1, 2, 3, 4]
    assert rungs_for(53, lambda rung: min(1.1**rung, 2.0), [1.5, 2, 3, 5]) == [2, 4, 5, 8]


def test_settings_that_are_no_faster_are_not_taken() -> None:
    assert rungs_for(53, lambda rung: 1.0, [1.5, 2, 3]) == [0]
    assert rungs_for(5, [1.0, 2.0, 2.0, 2.0, 2.0].__getitem__, [1.5, 2]) == [1]


def test_what_is_given_is_kept() -> None:
    found = candidate("dbcache:blocks=2:warmup=1")
    assert found.method(3).describe().startswith("dbcache threshold 0.00336, blocks 2, warmup 1")


def test_a_given_threshold_leaves_nothing_to_choose() -> None:
    found = candidate("teacache:threshold=0.1")
    assert found.rungs == ((),)
    assert found.method(0).describe() == "teacache threshold 0.1, rescale auto"


def test_a_ladder_of_two_hyper_parameters_keeps_what_is_given() -> None:
    found = candidate("magcache:max_skips=3")
    assert {len(rung) for rung in found.rungs} == {1}
    assert found.settings(0) == ("max_skips=3", "threshold=0.002")
    assert candidate("magcache:max_skips=3:threshold=1").rungs == ((),)


def test_what_was_measured_is_not_typed_in() -> None:
    found = replace(candidate("magcache:fitted"), rungs=(("threshold=1",),), measured=({"ratios": (1.0,)},))
    assert found.method(0) == MagCache(1.0, ratios=(1.0,))
    assert found.settings(0) == ("fitted", "threshold=1")
    book = Codebook("measured*2", ((0.1, 2),), 50)
    named = replace(
        candidate("adacache:fitted"), rungs=(("codebook=measured*2",),), measured=({"codebook": book},)
    )
    assert named.method(0) == AdaCache(book)
    assert named.settings(0) == ("fitted", "codebook=measured*2")


@pytest.mark.parametrize("text", ["tea", "fora+tailor"])
def test_candidates_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        candidate(text)


def test_a_candidate_with_refused_values_is_left_to_the_others() -> None:
    assert "threshold must be" in candidate("teacache:threshold=nan").refusal
    assert candidate("teacache").refusal == candidate("planned").refusal == ""
    Design(["p"], methods=["teacache:threshold=nan", "fora"])
    with pytest.raises(ValueError, match="threshold must be"):
        Design(["p"], methods=["teacache:threshold=nan"])
    with pytest.raises(TypeError):
        Design(["p"], methods=["teacache:treshold=1", "fora"])


@pytest.mark.parametrize(
    ("target", "rung"), [(0.5, 0), (1.0, 0), (2.0, 1), (2.7, 1), (3.0, 2), (7.0, 3), (100.0, 4)]
)
def test_the_rung_that_comes_nearest(target: float, rung: int) -> None:
    speeds = [1.0, 2.0, 4.0, 8.0, 10.0]
    assert climb(5, speeds.__getitem__, target) == rung


def test_a_ladder_that_ends_too_early() -> None:
    """The rungs beyond are no faster, and may be worse on other prompts."""
    speeds = [1.0, 2.0, 4.0, 4.0, 4.0]
    assert climb(5, speeds.__getitem__, 100.0) == 2


def test_climbing_looks_at_few_rungs() -> None:
    seen = set()

    def speed(rung: int) -> float:
        seen.add(rung)
        return 1.1**rung

    assert climb(53, speed, 3.0) == round(math.log(3, 1.1))
    assert len(seen) <= 9
