"""Fitting TeaCache's polynomial: known coefficients come back, and a fit that means nothing is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone.schedules.published.fitting import fitted
from skipstone.schedules.published.polynomials import Polynomial
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant

COEFFICIENTS = (40.0, -30.0, 8.0, 0.5, 0.02)


def pairs(noise: float = 0.0) -> list[tuple[float, float]]:
    random = np.random.default_rng(0)
    changes = random.uniform(0.05, 0.5, size=60)
    return list(zip(changes, np.polyval(COEFFICIENTS, changes) + noise * random.normal(size=60), strict=True))


def test_the_coefficients_of_a_polynomial_come_back() -> None:
    polynomial, quality = fitted(pairs(), "time-embedding")
    assert polynomial.coefficients == pytest.approx(COEFFICIENTS)
    assert polynomial.indicator == "time-embedding"
    assert quality == pytest.approx(1.0)


def test_the_quality_is_the_share_of_the_variance_explained() -> None:
    seen = pairs(noise=0.1)
    polynomial, quality = fitted(seen, "modulated-input")
    x, y = np.array(seen).T
    errors = y - np.poly1d(polynomial.coefficients)(x)
    assert quality == pytest.approx(1 - errors.var() / y.var())
    assert 0.5 < quality < 0.99


@pytest.mark.parametrize(
    ("seen", "says"),
    [(pairs(noise=5.0), r"R\^2 is 0\.\d+: the modulated-input tells too little"),
     ([(change, 0.3) for change, _ in pairs()], "tells too little"),
     (pairs()[:9], "9 different changes are too few"),
     ([(0.1, 0.2)] * 50, "1 different changes are too few"),
     ([], "0 different changes are too few"),
     ([*pairs(), (float("inf"), 0.1)], "not finite")],
)  # fmt: skip
def test_a_fit_that_means_nothing_is_refused(seen: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fitted(seen, "modulated-input")


def test_a_fit_on_a_pipeline_is_printed_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    """The toy adds 6 times ``temb``: its output is the square of its input, which changes by 2x + x^2."""
    pace = [0.02 * n for n in range(1, 31)]
    values = np.cumprod([1.0, *(1 + step for step in pace)])
    ones = torch.ones(1, 4, 2)
    inputs = [{"hidden_states": v * ones, "temb": (v * v - v) / 6 * ones} for v in values.tolist()]
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad():
        method = skipstone.fit_teacache(pipe, [inputs, inputs])
    assert "modulated-input: R^2 1.000 on 60 steps" in capsys.readouterr().out
    assert isinstance(method.rescale, Polynomial)
    assert method.rescale(0.3) == pytest.approx(2 * 0.3 + 0.3**2, rel=1e-3)
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe(inputs)
    assert "rescale fitted on 60 steps" in cache.last_run.method
    # Changes of 0.02 and 0.04, rescaled to 0.0404 and 0.0816, add up to the threshold of 0.1.
    assert cache.last_run.strip.startswith("#.##")


def test_fitting_works_on_a_real_class_and_leaves_it_alone() -> None:
    pipe = tiny.wan()
    bare = pipe()
    prompts = {"prompt_embeds": pipe.kwargs["prompt_embeds"]}
    kwargs = {**pipe.kwargs, **prompts, "num_inference_steps": 30, "output_type": "latent"}
    noise = torch.Generator().manual_seed(3)
    method = skipstone.fit_teacache(
        pipe.pipe, [None, None], indicator="time-embedding", generator=noise, **kwargs
    )
    with skipstone.attach(pipe.pipe, replace(method, threshold=2.0)) as cache:
        pipe(num_inference_steps=30)
    assert 0 < cache.last_run.skipped < 60
    assert torch.equal(pipe(), bare)


def test_one_prompt_is_not_several() -> None:
    with pytest.raises(TypeError, match=r"such as \['a red apple', \.\.\.\]"):
        skipstone.fit_teacache(ToyPipeline(ToyModel()), "a red apple")


def test_a_still_model_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="too few"), torch.no_grad():
        skipstone.fit_teacache(ToyPipeline(ToyModel()), [constant(9)])
