"""Methods are known by the names that papers and other packages give them, and typos are asked about."""

from typing import get_args

import pytest

from skipstone import FORA, METHODS, PREDICTORS, SAVERS, Cacher, Tail, Taylor, Warmup, WithPredictor
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
        ("fora+Step_Range", "fora+step-range"),
    ],
)
def test_a_name_may_be_spelt_as_elsewhere(typed: str, name: str) -> None:
    assert name_of(typed) == name
    assert make(typed) == make(name)


def test_a_wrapper_is_put_around_what_is_named_before_it() -> None:
    made = make("fora+warmup+taylor+tail", interval=3, **{"warmup.steps": 2, "tail.steps": 1, "order": 1})
    assert made == Tail(WithPredictor(Warmup(FORA(3), 2), Taylor(1)), 1)
    with pytest.raises(TypeError, match=r"warmup needs steps=\.\.\."):
        make("fora+warmup")
    with pytest.raises(ValueError, match="add one warmup at most"):
        make("fora+warmup+warmup", steps=2)
    with pytest.raises(ValueError, match=r"^.warmup. is added to a method: fora.warmup"):
        make("warmup", steps=2)


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
        ("fora+tailor", "^unknown predictor, guidance saver or wrapper 'tailor' .did you mean 'taylor'"),
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
