"""Settings are checked by their declarations: type, bounds, finite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt, Le

import skipstone
from skipstone import (
    FORA,
    Cacher,
    CFGCache,
    DBCache,
    MagCache,
    PerModel,
    StepRange,
    Taylor,
    Warmup,
    WithPredictor,
)
from skipstone.declared import Change, Declared, check, checked
from skipstone.schedules.search import Target

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Annotated[int, Ge(1)], 0, "a whole number >= 1, got 0"),
        (Annotated[float, Ge(0), Le(1)], 2, "a finite number from 0 to 1, got 2"),
        (Annotated[float, Gt(1)] | None, NAN, "a finite number > 1 or None, got nan"),
        (float, INF, "a finite number, got inf"),
        (Literal["step", "sigma"], "wall", "'step' or 'sigma', got 'wall'"),
        (tuple[Annotated[float, Gt(0)], ...], (1, 0), r"a tuple of a finite number > 0, got \(1, 0\)"),
        (dict[str, Change], {"block": NAN}, "a dict of a text, a number >= 0, got {'block': nan}"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_what_is_accepted(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^x must be {said}"):
        check("x", value, kind)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, 2.0, "a whole number, got 2.0"),
        (int, True, "a whole number, got True"),
        (float, True, "a finite number, got True"),
        (float, "0.5", "a finite number, got '0.5'"),
        (float, torch.tensor(0.5), r"a finite number, got tensor\(0.5000\)"),
        (bool, 1, "True or False, got 1"),
        (FORA, FORA, "an instance of FORA, got the class FORA: make an instance of it"),
        (str | FORA | None, 3, "a text or an instance of FORA or None, got 3"),
        (
            Literal["a", "b"] | str | Cacher[Any] | None,
            FORA,
            "a text or an instance of Cacher or None, got the class FORA: make an instance of it",
        ),
        (tuple[float, ...], [0.5], r"a tuple of a finite number, got \[0.5\]"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_is_accepted(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^x must be {said}$"):
        check("x", value, kind)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, np.int64(3)),
        (float, np.float32(0.5)),
        (tuple[float, ...], (np.float32(0.5), 1)),
        (float, 3),
        (Change, INF),
        (str | FORA | None, FORA()),
        (Any, NAN),
    ],
)
def test_a_value_that_fits_is_taken(kind: Any, value: Any) -> None:
    check("x", value, kind)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FORA(interval=0), "interval"),
        (lambda: DBCache(last_blocks=-1), "last_blocks"),
        (lambda: MagCache(ratios=(1.0, NAN)), "ratios"),
        (lambda: Taylor(order=10**9), "order"),
        (lambda: Warmup(FORA(), NAN), "steps"),  # type: ignore[arg-type]
        (lambda: StepRange(FORA(), stop=NAN), "stop"),
        (lambda: Warmup(FORA, 2), "cacher"),  # type: ignore[arg-type]
        (lambda: WithPredictor(FORA(), CFGCache()), "predictor"),  # type: ignore[arg-type]
        (lambda: PerModel(FORA(), {"transformer": FORA}), "overrides"),  # type: ignore[dict-item]
        (lambda: Target(speedup=NAN), "speedup"),
        (lambda: Target(quality=INF), "quality"),
        (lambda: Target(computed=True), "computed"),
    ],
)
def test_methods_wrappers_predictors_savers_and_targets_are_declared(
    make: Callable[[], object], name: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
        make()


def test_a_method_of_another_package_is_checked_as_its_fields_are_declared() -> None:
    @dataclass(frozen=True)
    class Mine(FORA):
        share: Annotated[float, Ge(0), Le(1)] = 0.5

    assert Mine(share=1).share == 1
    with pytest.raises(ValueError, match=r"share must be a finite number from 0 to 1, got 1\.5"):
        Mine(share=1.5)


def test_numbers_of_numpy_are_kept_as_numbers_of_python() -> None:
    made = DBCache(threshold=np.float32(0.5), warmup=np.int64(3))  # type: ignore[arg-type]
    assert [type(value) for value in (made.threshold, made.warmup)] == [float, int]
    check("x", (np.False_, True), tuple[bool, ...])


def test_a_type_that_cannot_be_read_is_named() -> None:
    @dataclass(frozen=True)
    class Odd(Declared):
        value: "Missing" = None  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(ValueError, match=r"the types of Odd's hyper-parameters cannot be read: .*Missing"):
        Odd()


def test_arguments_of_a_function_are_checked_by_their_annotations() -> None:
    @checked
    def twice(number: Annotated[int, Ge(0)], anything: Any = None) -> int:
        return 2 * number

    assert twice(3, NAN) == 6
    with pytest.raises(TypeError, match="number must be a whole number >= 0, got '3'"):
        twice("3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked", [{"graphs": "no"}, {"replace": 1}, {"snapshots": 8}, {"cache_device": 0}, {"speedup": "2"}]
)
def test_what_attach_is_given_is_checked(asked: dict[str, Any]) -> None:
    method = () if "speedup" in asked else ("fora",)
    with pytest.raises(TypeError, match=f"^{next(iter(asked))} must be"):
        skipstone.attach(object(), *method, **asked)
