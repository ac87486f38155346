"""Values for every setting of all that can be made: refused in one line, or a run of it is finite."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import skipstone
from skipstone import FORA, CFGCache, FirstBlock, Guidance, Taylor, WithGuidance, WithPredictor
from skipstone.cachers import METHODS, PREDICTORS, SAVERS, Cacher, Predictor, SharedPrefix
from skipstone.schedules.published.codebooks import Codebook
from skipstone.schedules.search import Target
from skipstone.testing.on_toys import played
from skipstone.testing.toys import drifting
from support.methods import METHODS as CASES
from support.mutations import VALUES, fuzzed

ODD = st.sampled_from([
    np.float64(0.5), np.int64(3), np.nan, np.bool_(True), np.ones(2), torch.tensor(2.0), Decimal("0.1"),
    Fraction(1, 2), 1j, FORA, FORA(), Taylor, Taylor(), CFGCache(), object(), len, lambda: 0, {1}, b"1",
    (1.0, 0.9), ((0.1, 2),), (), "code", "sigma", "#.#.", "auto", 10**5000,
])  # fmt: skip
"""Values of other types."""

VALUE = st.one_of(
    VALUES, ODD, st.integers(-3, 30), st.floats(), st.floats(0, 2), st.text(max_size=8), st.booleans()
)

WRAPPERS: Mapping[str, Mapping[str, Any]] = {
    "Warmup": {"cacher": FORA(), "steps": 2},
    "Tail": {"cacher": FORA(), "steps": 2},
    "StepRange": {"cacher": FORA()},
    "StepMask": {"cacher": FORA(), "mask": "#..#..#."},
    "RunCap": {"cacher": FirstBlock(), "skips": 2},
    "PerModel": {"cacher": FORA(), "overrides": {}},
    "WithPredictor": {"cacher": FORA(), "predictor": Taylor()},
    "WithGuidance": {"cacher": FORA(), "saver": CFGCache()},
    "WithSharedPrefix": {"cacher": FORA()},
}

MADE: Mapping[Callable[..., Any], Mapping[str, Any]] = {
    **{type(case.method): _fields for case in CASES if (_fields := vars(case.method)) is not None},
    **{cls: {} for registry in (PREDICTORS, SAVERS) for cls in registry.values()},
    SharedPrefix: {},
    **{getattr(skipstone, name): given for name, given in WRAPPERS.items()},
    Codebook: {"name": "mine", "levels": ((0.1, 2), (0.2, 1)), "steps": 8},
    Target: {"speedup": 2.0},
}
"""Everything with settings, and settings that it works with."""


def places() -> list[Any]:
    """Every setting of everything."""
    return [(made, field.name) for made in MADE for field in fields(made) if field.init]  # type: ignore[arg-type]


@fuzzed
@given(place=st.sampled_from(places()), value=VALUE)
def test_settings(place: Any, value: Any) -> None:
    made, name = place
    try:
        found = made(**{**MADE[made], name: value})
    except (TypeError, ValueError) as error:
        check_line(error)
        return
    run(found)


def run(made: Any) -> None:
    """Eight steps of a toy with it: what it cannot do it says, and what it gives is finite."""
    if isinstance(made, Predictor):
        made = WithPredictor(FORA(3), made)
    if isinstance(made, Guidance):
        made = WithGuidance(FORA(3), made)
    if not isinstance(made, Cacher):
        return
    assert "\n" not in made.describe()
    try:
        outputs, _ = played(made, drifting(8, 0.05))
    except ValueError as error:
        check_line(error)
    else:
        assert all(output.isfinite().all() for output in outputs), made


def check_line(error: Exception) -> None:
    """It says what is wrong in one line that is not endless, and not in the words of an accident."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 600, text
    assert "object has no attribute" not in text
    assert "not supported between" not in text


def test_every_method_is_tried() -> None:
    assert set(METHODS.values()) <= set(MADE)
