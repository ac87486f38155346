"""Each gate's decisions on a recorded trace, against its rule worked out a second time in numpy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone import Cacher, DBCache, DiCache, EasyCache, MagCache, SeaCache
from skipstone.cachers.contract.words import ModelFacts, Outcome, Step
from skipstone.cachers.seacache import wiener
from skipstone.schedules.published.magnitudes import interpolated
from support import tiny
from support.toy import ToyModel, ToyPipeline, drifting

STEPS = 40


def trace(*shape: int, seed: int = 0) -> torch.Tensor:
    """A signal that moves fast, slow, and fast again."""
    generator = torch.Generator().manual_seed(seed)
    pace = torch.linspace(-1, 1, STEPS).square() * 0.2 + 0.01
    moves = torch.randn(STEPS, *shape, generator=generator) * pace.reshape(-1, *(1 for _ in shape))
    return torch.randn(*shape, generator=generator) + moves.cumsum(0)


def decisions(method: Cacher[Any], probes: Sequence[Any], outputs: Sequence[Any] | None = None) -> list[bool]:
    state, made = method.new_state(), []
    for index, probe in enumerate(probes):
        sigma = 1 - index / STEPS
        step = Step(index, STEPS, 0.0, sigma, 1 - sigma, sigma)
        compute = method.reason_to_compute(probe, step, state) is not None
        if compute:
            method.update(probe, Outcome(output=None if outputs is None else outputs[index]), step, state)
        made.append(compute)
    return made


def ratio(current: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(current - reference).mean() / np.abs(reference).mean())


@pytest.mark.parametrize(("threshold", "warmup"), [(0.0, 0), (0.05, 5), (0.3, 0), (0.6, 8)])
def test_easycache(threshold: float, warmup: int) -> None:
    inputs, outputs = trace(1, 3, 4, 4), trace(1, 3, 4, 4, seed=1)
    made = decisions(EasyCache(threshold, warmup), inputs, outputs)
    x, y = inputs.double().numpy(), outputs.double().numpy()
    expected, computed, rate, error = [], [], None, 0.0
    for t in range(STEPS):
        if rate is not None:
            error += rate * np.abs(x[t] - x[t - 1]).mean() / np.abs(y[computed[-1]]).mean()
        compute = rate is None or t < warmup or t == STEPS - 1 or error >= threshold
        if compute:
            if computed:
                last = computed[-1]
                rate = np.abs(y[t] - y[last]).mean() / np.abs(x[t] - x[last]).mean()
            computed.append(t)
            error = 0.0
        expected.append(compute)
    assert made == expected
    assert threshold == 0 or 2 < sum(made) < STEPS


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.0])
def test_seacache(threshold: float) -> None:
    latents = trace(1, 2, 3, 6, 5)
    made = decisions(SeaCache(threshold), latents)
    seen = [naive_wiener(x[0].double().numpy(), 1 - t / STEPS) for t, x in enumerate(latents)]
    expected, total = [True], 0.0
    for t in range(1, STEPS):
        total += ratio(seen[t], seen[t - 1])
        compute = t == STEPS - 1 or total >= threshold
        total = 0.0 if compute else total
        expected.append(compute)
    assert made == expected
    assert 2 < sum(made) < STEPS


def naive_wiener(x: np.ndarray, sigma: float) -> np.ndarray:
    """The gain of every frequency one by one."""
    signal, noise = max(1 - sigma, 1e-6), max(sigma, 1e-6)
    gain = np.ones(x.shape[1:])
    for position in np.ndindex(*x.shape[1:]):
        for axis, k in enumerate(position):
            n = x.shape[1 + axis]
            frequency = min(k, n - k) / n
            power = 1 / (frequency**3 + 1e-16)
            gain[position] *= signal * power / (signal**2 * power + noise**2)
    spectrum = np.fft.fftn(x, axes=tuple(range(1, x.ndim)))
    return np.fft.ifftn(spectrum * gain / gain.mean(), axes=tuple(range(1, x.ndim))).real


def test_the_filter_of_a_clean_input_changes_nothing() -> None:
    latents = trace(1, 2, 6, 5)[:1, 0]
    torch.testing.assert_close(wiener(latents, 1.0, 0.0, 3.0), latents)


@pytest.mark.parametrize("error", ["probe", "difference"])
@pytest.mark.parametrize(("threshold", "warmup"), [(0.05, 0.0), (0.3, 0.2)])
def test_dicache(error: Any, threshold: float, warmup: float) -> None:
    states = torch.stack([trace(1, 6, 4), trace(1, 6, 4, seed=1)], dim=1)
    method = DiCache(threshold, error, warmup=warmup)
    made = decisions(method, states)
    x, y = states[:, 0].double().numpy(), states[:, 1].double().numpy()
    expected, total = [], 0.0
    for t in range(STEPS):
        if t:
            change = ratio(y[t], y[t - 1])
            total += change if error == "probe" else abs(change - ratio(x[t], x[t - 1]))
        compute = t <= int(warmup * STEPS) or t == STEPS - 1 or total >= threshold
        total = 0.0 if compute else total
        expected.append(compute)
    assert made == expected
    assert 2 < sum(made) < STEPS


@pytest.mark.parametrize(("now", "way"), [(0.0, 1.0), (2.5, 1.25), (9.0, 1.5)])
def test_dicache_goes_as_far_as_the_head_went(now: float, way: float) -> None:
    """The head's residual was 0, then 2; now it is ``now``: between the limits of 1 and 1.5."""
    method, ones = DiCache(warmup=0.0), torch.ones(1, 4, 2)
    state = method.new_state()
    steps = [Step(index, 9, 0.0) for index in range(3)]
    for step, moved in zip(steps, (0.0, 2.0), strict=False):
        probe = torch.stack([ones, ones + moved])
        method.reason_to_compute(probe, step, state)
        method.update(probe, Outcome(), step, state)
    method.reason_to_compute(torch.stack([ones, ones + now]), steps[2], state)
    assert method.weights(steps[2], [steps[1], steps[0]], state) == pytest.approx((way, 1 - way))
    assert method.weights(steps[2], [steps[1]], state) == (1.0,)


@pytest.mark.parametrize(("warmup", "cap"), [(0, None), (8, 3), (3, 1)])
def test_dbcache(warmup: int, cap: int | None) -> None:
    probes = trace(1, 6, 4)
    made = decisions(DBCache(0.3, 1, warmup, cap), probes)
    expected: list[bool] = []
    reference, skipped = np.zeros(1), 0
    for t, array in enumerate(probes.double().numpy()):
        compute = t == 0 or t < warmup or skipped == cap or ratio(array, reference) >= 0.3
        reference, skipped = (array, 0) if compute else (reference, skipped + 1)
        expected.append(bool(compute))
    assert made == expected
    assert 1 < sum(made) < STEPS


def test_dbcache_runs_as_many_blocks_as_it_is_told() -> None:
    model = ToyModel(5)
    pipe = ToyPipeline(model)
    with torch.no_grad(), skipstone.attach(pipe, DBCache(1e9, blocks=2, warmup=1)) as cache:
        pipe(drifting(6, 0.1))
    assert cache.last_run.strip == "#....."
    # The first step is replayed once without the blocks that may be skipped, as a check.
    assert model.block_calls == [7, 7, 1, 1, 1]


@pytest.mark.parametrize(("threshold", "cap", "warmup"), [(0.06, 3, 0.2), (0.12, 2, 0.2), (0.3, 9, 0.0)])
def test_magcache(threshold: float, cap: int, warmup: float) -> None:
    ratios = tuple(1 - 0.1 * (n / STEPS) ** 2 for n in range(STEPS))
    made = decisions(MagCache(threshold, cap, warmup, ratios), [None] * STEPS)
    expected, product, error, skipped = [], 1.0, 0.0, 0
    for t in range(STEPS):
        compute = t == 0 or t < int(warmup * STEPS)
        if not compute:
            product *= ratios[t]
            error += abs(1 - product)
            skipped += 1
            compute = error >= threshold or skipped > cap
        if compute:
            product, error, skipped = 1.0, 0.0, 0
        expected.append(compute)
    assert made == expected
    assert 1 < sum(made) < STEPS


def test_ratios_for_another_number_of_steps_are_the_nearest() -> None:
    assert [interpolated((1.0, 2.0, 3.0), n, 5) for n in range(5)] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert interpolated((1.0, 2.0, 3.0), 0, 1) == 3.0


def test_magcache_takes_the_published_ratios_or_says_how_to_measure_them() -> None:
    flux = ModelFacts("FluxTransformer2DModel", {"num_layers": 19, "num_single_layers": 38})
    ratios = MagCache().for_model(flux).ratios
    assert ratios is not None
    assert (len(ratios), ratios[0], ratios[1]) == (28, 1.0, 1.21094)
    with pytest.raises(ValueError, match=r"skipstone\.fit_magcache"):
        skipstone.attach(tiny.wan().pipe, "magcache")


def test_calibration_measures_the_residuals_magnitudes() -> None:
    """The residual is 6 times a ``temb`` of 1.0, 1.1, 1.2, ...: so are the ratios."""
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad():
        method = skipstone.fit_magcache(pipe, drifting(6, 0.1))
    expected = [1.0, *((1 + 0.1 * n) / (0.9 + 0.1 * n) for n in range(1, 6))]
    assert method.ratios == pytest.approx(expected)
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe(drifting(6, 0.1))
    assert cache.last_run.steps == 6


def test_calibration_works_on_a_real_class_and_leaves_it_alone() -> None:
    pipe = tiny.wan()
    bare = pipe()
    method = skipstone.fit_magcache(pipe.pipe, **{**pipe.kwargs, "output_type": "latent"})
    assert method.ratios is not None
    assert len(method.ratios) == 8
    assert torch.equal(pipe(), bare)
