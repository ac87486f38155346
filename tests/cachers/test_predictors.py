"""Predictors: exact on what they claim, on uneven steps and on both clocks, and with any gate."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite as numpy_hermite

import skipstone
from skipstone import (
    AdamsBashforth,
    FoCa,
    FreqCa,
    Hermite,
    Predictor,
    Reuse,
    Spectrum,
    Taylor,
    WithPredictor,
)
from skipstone.cachers import Step
from skipstone.cachers.contract.words import Bands
from skipstone.testing import Case
from support.methods import ON_STACKS
from support.toy import ToyModel, ToyPipeline, constant, drifting

SIGMAS = np.linspace(1, 0, 31) ** 1.7
STEPS = [Step(index, 31, 0.0, float(sigma)) for index, sigma in enumerate(SIGMAS)]
COMPUTED = [14, 11, 10, 6, 2, 0]

EXACT: list[tuple[Predictor, int]] = [
    (Reuse(), 0),
    *[(Taylor(n, clock=clock), n) for n in range(4) for clock in ("step", "sigma")],
    *[(AdamsBashforth(n, clock=clock), n - 1) for n in range(1, 5) for clock in ("step", "sigma")],
    (FoCa(), 1),
    (FoCa(clock="sigma"), 1),
    (Hermite(order=1, scale=0.5**0.5), 1),
    (FreqCa(order=1, scale=0.5**0.5), 1),
    (Spectrum(degree=3, ridge=1e-12, mix=1.0), 3),
    (Spectrum(degree=3, ridge=1e-12, mix=0.5), 1),
]
PREDICTORS = [Reuse(), Taylor(2), AdamsBashforth(3), FoCa(), FreqCa(), Hermite(), Spectrum()]


def weighed(predictor: Predictor, values: np.ndarray, index: int, computed: list[int]) -> float:
    kept = computed[: predictor.history]
    weights = predictor.all_weights(STEPS[index], [STEPS[n] for n in kept])
    return float(np.dot(weights, values[kept]))


def test_every_predictor_is_tested() -> None:
    assert {predictor.name for predictor in PREDICTORS} == set(skipstone.PREDICTORS)


@pytest.mark.parametrize(("predictor", "degree"), EXACT, ids=lambda value: str(value))
@pytest.mark.parametrize("index", [15, 17, 20])
def test_exact_on_polynomials_of_its_degree_on_uneven_steps(
    predictor: Predictor, degree: int, index: int
) -> None:
    times = SIGMAS if getattr(predictor, "clock", "step") == "sigma" else np.arange(31.0)
    values = np.polyval(np.random.default_rng(0).normal(size=degree + 1), times)
    assert weighed(predictor, values, index, COMPUTED) == pytest.approx(values[index], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda p: p.name)
@pytest.mark.parametrize("kept", range(1, 6))
def test_few_computed_steps_do_and_a_constant_stays(predictor: Predictor, kept: int) -> None:
    if isinstance(predictor, Spectrum):
        predictor = Spectrum(degree=0, ridge=1e-9)
    if isinstance(predictor, Hermite):
        predictor = replace(predictor, order=1)
    values = np.full(31, 3.0)
    assert weighed(predictor, values, 17, COMPUTED[:kept]) == pytest.approx(3.0, rel=1e-4)


def test_taylor_of_order_two_by_arithmetic() -> None:
    """1, 4, 9 at steps 1, 2, 3 go on with 16 and 25, not back to 4 and 1."""
    values = np.arange(31.0) ** 2
    assert weighed(Taylor(2), values, 4, [3, 2, 1]) == pytest.approx(16)
    assert weighed(Taylor(2), values, 5, [3, 2, 1]) == pytest.approx(25)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_hermite_is_the_papers_sum_on_even_steps(order: int) -> None:
    scale, interval, computed, index = 0.6, 3, [12, 9, 6, 3], 14
    values = np.random.default_rng(1).normal(size=31)
    differences = [values[computed[: order + 1]]]
    while len(differences[-1]) > 1:
        differences.append((differences[-1][:-1] - differences[-1][1:]) / interval)
    expected = sum(
        difference[0] / np.prod(np.arange(1.0, n + 1)) * scale**n
        * numpy_hermite.hermval(scale * (index - computed[0]), [0] * n + [1])
        for n, difference in enumerate(differences)
    )  # fmt: skip
    assert weighed(Hermite(order, scale), values, index, computed) == pytest.approx(expected)


def test_foca_is_a_forecast_and_a_trapezium() -> None:
    values = np.random.default_rng(2).normal(size=31)
    newest, older, oldest, at = 14, 11, 10, 16
    slope = slope_of_parabola([newest, older, oldest], values[[newest, older, oldest]])
    forecast = values[newest] + (at - newest) * slope
    there = slope_of_parabola([at, newest, older], [forecast, values[newest], values[older]])
    expected = values[newest] + (at - newest) * (slope + there) / 2
    assert weighed(FoCa(), values, at, COMPUTED) == pytest.approx(expected)


def slope_of_parabola(times: Any, values: Any) -> float:
    return float(np.polyval(np.polyder(np.polyfit(times, values, 2)), times[0]))


def test_spectrum_is_a_ridge_regression() -> None:
    values = np.random.default_rng(3).normal(size=31)
    scaled = 2 * np.array(COMPUTED) / 31 - 1
    design = np.cos(np.arange(5) * np.arccos(scaled)[:, None])
    coefficients = np.linalg.solve(design.T @ design + 0.1 * np.eye(5), design.T @ values[COMPUTED])
    fitted = np.cos(np.arange(5) * np.arccos(2 * 17 / 31 - 1)) @ coefficients
    line = values[14] + (values[14] - values[11]) / (14 - 11) * (17 - 14)
    assert weighed(Spectrum(), values, 17, COMPUTED) == pytest.approx((fitted + line) / 2)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda p: p.name)
def test_two_computed_at_the_same_time_count_once(predictor: Predictor) -> None:
    twice = predictor.all_weights(STEPS[17], [STEPS[14], STEPS[14], STEPS[11]])
    once = predictor.all_weights(STEPS[17], [STEPS[14], STEPS[11]])
    assert list(twice) == [once[0], 0.0, once[1]]


def test_a_clock_that_the_scheduler_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="no sigmas; use clock='step'"):
        Taylor(clock="sigma").weights(Step(2, 4, 0.0), [Step(1, 4, 0.0)])


@pytest.mark.parametrize("predictor", PREDICTORS, ids=lambda p: p.name)
@pytest.mark.parametrize("case", ON_STACKS, ids=lambda case: case.name)
def test_any_gate_goes_with_any_predictor(case: Case, predictor: Predictor) -> None:
    """The gate's decisions stay, and a skipped step is the weighted sum of the computed ones."""
    gate = case.series[3]
    plain, pipe = ToyPipeline(ToyModel()), ToyPipeline(ToyModel())
    inputs = drifting(12, 0.1)
    with torch.no_grad(), skipstone.attach(plain, gate) as alone:
        plain(inputs)
    with torch.no_grad(), skipstone.attach(pipe, WithPredictor(gate, predictor)) as cache:
        outputs = pipe(inputs)
    if not gate.head_blocks and case.name != "easycache":
        assert cache.last_run.strip == alone.last_run.strip
        strip, taken = cache.last_run.strip, [Step(n, 12, 0.0) for n in range(12)]
        for n, mark in enumerate(strip):
            computed = [m for m in range(n) if strip[m] == "#"][::-1][: predictor.history]
            if mark == ".":
                weights = predictor.weights(taken[n], [taken[m] for m in computed])
                if isinstance(weights, Bands):  # the toy is even over its tokens
                    weights = weights.low
                residual = sum(w * 6 * (1 + 0.1 * m) for w, m in zip(weights, computed, strict=True))
                torch.testing.assert_close(
                    outputs[n], inputs[n]["hidden_states"] + residual, rtol=1e-5, atol=1e-4
                )
    assert cache.last_run.strip.startswith("#")


def test_a_straight_line_through_the_engine() -> None:
    """Residuals that grow evenly are estimated exactly from the second computed step on."""
    pipe, bare = ToyPipeline(ToyModel()), ToyPipeline(ToyModel())
    inputs = drifting(9, 0.1)
    with torch.no_grad(), skipstone.attach(pipe, WithPredictor(skipstone.FORA(3), Taylor(1))) as cache:
        outputs = pipe(inputs)
    assert cache.last_run.strip == "#..#..#.."
    for estimate, right in zip(outputs[3:], bare(inputs)[3:], strict=True):
        torch.testing.assert_close(estimate, right)


def test_estimates_are_never_fed_back() -> None:
    """A constant residual stays what it is, however long the run of skipped steps."""
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, WithPredictor(skipstone.FORA(8), Taylor(2))):
        outputs = pipe(constant(24))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_descriptions_name_gate_and_predictor() -> None:
    method = WithPredictor(skipstone.SeaCache(0.25), Taylor(order=1))
    assert method.describe() == "seacache threshold 0.25, power 3; taylor clock step, order 1"
    assert {f.name for f in fields(method)} == {"cacher", "predictor"}


def test_a_gate_and_a_predictor_by_name() -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, "fora+taylor", interval=4, order=2) as cache:
        pipe(constant(9))
    assert cache.last_run.method == "fora interval 4; taylor clock step, order 2"
    assert cache.last_run.strip == "#...#...#"


@pytest.mark.parametrize(
    ("name", "settings", "error", "says"),
    [("fora+fourier", {}, ValueError, "unknown predictor, guidance saver or wrapper 'fourier'"),
     ("four+taylor", {}, ValueError, "unknown method 'four'"),
     ("fora+taylor", {"threshold": 0.1}, TypeError, "it has: interval, clock, order")],
)  # fmt: skip
def test_a_bad_name_is_named(name: str, settings: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        skipstone.attach(ToyPipeline(ToyModel()), name, **settings)
