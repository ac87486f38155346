"""Methods are known by the names that papers and other packages give them, and typos are asked about."""

from typing import get_args

import pytest

from skipstone import METHODS, PREDICTORS, SAVERS, Cacher
from skipstone.cachers.make import make, name_of
from skipstone.cachers.method_names import MethodName
from skipstone.cachers.registry import _own
from skipstone.cachers.spelling import ALSO


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("TeaCache", "teacache"),
        ("first_block", "first-block"),
        ("FBCache", "first-block"),
        ("FORA", "fora"),
        ("T-GATE", "tgate"),
        ("FORA+TaylorSeer", "fora+taylor"),
        ("fora+CFG_Cache", "fora+cfg-cache"),
    ],
)
def test_a_name_may_be_spelt_as_elsewhere(typed: str, name: str) -> None:
    assert name_of(typed) == name
    assert make(typed) == make(name)


def test_every_class_is_found_by_its_own_name_in_python() -> None:
    for known in (METHODS, PREDICTORS, SAVERS):
        for name in known:
            assert known.spelt(known[name].__name__) == name


def test_editors_complete_every_method() -> None:
    assert [*get_args(MethodName)] == sorted(kind.name for kind in _own(Cacher))


def test_other_names_stand_for_known_ones_and_hide_none() -> None:
    known = {*METHODS, *PREDICTORS, *SAVERS}
    assert set(ALSO.values()) <= known
    assert not set(ALSO) & known


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("teacahce", "^unknown method 'teacahce' .did you mean 'teacache'.*; choose one of: adacache"),
        ("fora+tailor", "^unknown predictor or guidance saver 'tailor' .did you mean 'taylor'"),
        ("Taylor", "^'Taylor' is added to a method: fora.taylor"),
        ("nothing-like-it", "^unknown method 'nothing-like-it'; choose one of"),
    ],
)
def test_a_typo_is_asked_about(typed: str, question: str) -> None:
    with pytest.raises(ValueError, match=question):
        make(typed)


def test_a_misspelt_hyper_parameter_is_asked_about() -> None:
    with pytest.raises(TypeError, match=r"no hyper-parameter 'treshold' \(did you mean 'threshold'\?\)"):
        make("teacache", treshold=0.1)
