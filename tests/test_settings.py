"""Hyper-parameters are typed as they are meant."""

from typing import Any

import pytest

from skipstone import MagCache
from skipstone.settings import make_method, typed


@pytest.mark.parametrize(
    ("text", "ratios"), [("1,0.98,0.96", (1.0, 0.98, 0.96)), ("1", (1.0,)), ("none", None)]
)
def test_a_tuple_is_typed_with_commas(text: str, ratios: Any) -> None:
    assert make_method("magcache", [f"ratios={text}"]) == MagCache(ratios=ratios)
    assert typed(ratios) == text


def test_one_value_of_a_tuple_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="--set ratios=much: expected float, got 'much'"):
        make_method("magcache", ["ratios=1,much"])


def test_values_are_typed_as_they_are_read() -> None:
    assert [typed(value) for value in (True, None, 0.25, 3, "auto", ())] == [
        "true",
        "none",
        "0.25",
        "3",
        "auto",
        "",
    ]
