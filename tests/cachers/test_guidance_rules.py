"""When the unconditional branch is computed, and as what it is estimated: the rules worked out again."""

import numpy as np
import pytest
import torch
from diffusers.hooks.faster_cache import _split_low_high_freq

from skipstone import CFGCache, FasterCache
from skipstone.cachers import Step
from skipstone.cachers.cfg_cache import low_band
from skipstone.cachers.contract.words import Layer, LayerKind

SELF = Layer(LayerKind.SELF_ATTENTION, "blocks.0.attn1", 0, 4)


@pytest.mark.parametrize(("start", "interval"), [(1 / 3, 5), (0.0, 3), (0.5, 2), (1.0, 4)])
@pytest.mark.parametrize("count", [30, 50])
def test_both_branches_are_computed_at_first_and_then_every_few_steps(
    start: float, interval: int, count: int
) -> None:
    number = np.arange(1, count + 1)
    full = (number <= start * count) | (number % interval == 0)
    method = CFGCache(start, interval)
    decisions = [method.reason_to_compute(Step(n, count, 0.0)) is not None for n in range(count)]
    assert decisions == full.tolist()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 3, 7, 12), (1, 4, 5, 5), (2, 4, 16, 10)])
@pytest.mark.parametrize("index", [3, 25])
def test_the_estimate_is_that_of_the_paper(shape: tuple[int, ...], index: int) -> None:
    """Weighted differences of the bands, added to the spectrum of the conditional output."""
    rng = np.random.default_rng(0)
    cond, uncond, now = rng.normal(size=(3, *shape)).astype(np.float32)
    method, step = CFGCache(low=0.3, high=0.7, switch=0.5), Step(index, 30, 0.0)
    parts = method.split(torch.from_numpy(uncond - cond))
    ours = torch.from_numpy(now)
    for weight, part in zip(method.weights(step), parts, strict=True):
        ours = ours + weight * part

    height, width = shape[-2:]
    y, x = np.mgrid[:height, :width]
    disc = (x - width // 2) ** 2 + (y - height // 2) ** 2 <= (min(height, width) // 5) ** 2

    def spectrum(values: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(np.fft.fft2(values), axes=(-2, -1))

    low_weight, high_weight = (1.3, 1.0) if index < 15 else (1.0, 1.7)
    low = (spectrum(uncond) - spectrum(cond)) * disc * low_weight + spectrum(now) * disc
    high = (spectrum(uncond) - spectrum(cond)) * ~disc * high_weight + spectrum(now) * ~disc
    theirs = np.fft.ifft2(np.fft.ifftshift(low + high, axes=(-2, -1))).real
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_the_low_band_is_that_of_diffusers() -> None:
    planes = torch.randn(6, 12, 20)
    low, _ = _split_low_high_freq(planes[None])
    theirs = torch.fft.ifft2(torch.fft.ifftshift(low)).real[0]
    torch.testing.assert_close(low_band(planes), theirs)


def test_attention_is_extrapolated_from_the_last_two_computed_outputs_with_a_rising_weight() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(30, 4)).astype(np.float32)
    method = FasterCache(start=0.2, interval=2, weight=0.9, guidance_start=1.0)
    rule = method.for_layer(SELF)
    assert rule is not None
    known: list[int] = []
    for n in range(30):
        step = Step(n, 30, 0.0)
        compute = n < 6 or n % 2 == 0
        assert (rule.reason_to_compute(None, step, None) is not None) == compute
        if compute:
            known.insert(0, n)
            continue
        weights = rule.weights(step, [Step(k, 30, 0.0) for k in known[:2]], None)
        ours = sum(w * outputs[k] for w, k in zip(weights, known, strict=False))
        rising = 0.9 * (n - 6) / (29 - 6)
        np.testing.assert_allclose(
            ours, outputs[known[0]] + (outputs[known[0]] - outputs[known[1]]) * rising, rtol=1e-5
        )


def test_attention_is_computed_where_the_unconditional_branch_is_after_it_was_not() -> None:
    method = FasterCache(start=0.0, interval=2, guidance_start=1 / 3, guidance_interval=5)
    rule = method.for_layer(SELF)
    assert rule is not None
    strip = "".join("#" if rule.reason_to_compute(None, Step(n, 30, 0.0), None) else "." for n in range(30))
    number = np.arange(1, 31)
    full = (number <= 10) | (number % 5 == 0)
    returns = full & ~np.roll(full, 1)
    returns[0] = False
    expected = "".join("#" if n % 2 == 0 or returns[n] else "." for n in range(30))
    assert strip == expected
    assert strip[19] == "#"
