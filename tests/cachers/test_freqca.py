"""FreqCa: which frequencies are low, and what becomes of each band."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, PAB, Cacher, DeepCache, FirstBlock, FreqCa, Reuse, RunCap, WithPredictor
from skipstone.cachers.predictors.freqca import low_frequencies
from support.tiny import Tiny, flux, wan
from support.tiny_pipelines.unet import stable_diffusion
from support.toy import ToyModel, ToyPipeline

TOKENS = 40
LINES = torch.arange(TOKENS) / TOKENS


def wave(cycles: int) -> Tensor:
    """So many cycles over all tokens: the highest possible number is 20, so that up to 2 of them are low."""
    return torch.cos(2 * torch.pi * cycles * LINES)[None, :, None].repeat(1, 1, 2)


@pytest.mark.parametrize(("cycles", "is_low"), [(0, True), (1, True), (2, True), (3, False), (20, False)])
def test_a_tenth_of_the_highest_frequency_is_low(cycles: int, is_low: bool) -> None:
    kept = wave(cycles) if is_low else torch.zeros(1, TOKENS, 2)
    torch.testing.assert_close(low_frequencies(wave(cycles), 0.1), kept, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 2, 7, 40, 41])
def test_bands_are_those_of_a_complex_transform_along_the_tokens(tokens: int) -> None:
    values = torch.randn(2, tokens, 3, generator=torch.Generator().manual_seed(0))
    assert np.allclose(low_frequencies(values, 0.31).numpy(), low_band(values.numpy(), 0.31), atol=1e-6)


def test_a_grid_is_split_by_the_length_of_the_wave_in_whatever_direction() -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(12.0), indexing="ij")
    along, across = (torch.cos(2 * torch.pi * n * rows / 16)[None, None] for n in (1, 4))
    skew = torch.cos(2 * torch.pi * (3 * rows / 16 + 3 * columns / 12))[None, None]
    # The longest wave vector is (1/2, 1/2); up to half of its length is low: 0.35 cycles per element.
    torch.testing.assert_close(low_frequencies(along + across, 0.5), along + across, rtol=0, atol=1e-5)
    torch.testing.assert_close(low_frequencies(along + across, 0.2), along, rtol=0, atol=1e-5)
    torch.testing.assert_close(low_frequencies(skew, 0.4), torch.zeros_like(skew), rtol=0, atol=1e-5)
    torch.testing.assert_close(low_frequencies(skew, 0.5), skew, rtol=0, atol=1e-5)


def test_low_frequencies_stay_and_high_ones_go_on() -> None:
    """Both grow by 6 a step; skipped are steps 4 and 5 after 3, and the low wave waits for step 6."""
    predictor = FreqCa(order=1, scale=0.5**0.5)
    outputs, inputs = run(predictor, [(1 + n) * (wave(1) + wave(9)) for n in range(7)], interval=3)
    for n, grown in ((4, 4), (5, 4), (6, 7)):
        expected = inputs[n] + 6 * grown * wave(1) + 6 * (n + 1) * wave(9)
        torch.testing.assert_close(outputs[n], expected, rtol=1e-4, atol=1e-4)


def test_it_is_the_papers_rule_step_by_step() -> None:
    """A second implementation of the official code's recursion, on noise, at every skipped step."""
    noise = torch.Generator().manual_seed(1)
    residuals = [torch.randn(1, TOKENS, 2, generator=noise) for _ in range(16)]
    outputs, inputs = run(FreqCa(), [residual / 6 for residual in residuals], interval=4)
    differences: list[np.ndarray[Any, Any]] = []
    for n, residual in enumerate(residuals):
        if n % 4 == 0:
            low = low_band(residual.numpy(), 0.1)
            old, differences = differences, [residual.numpy() - low]
            differences += [(new - before) / 4 for new, before in zip_recursively(differences[0], old)]
            continue
        estimate = low + series(differences, n % 4)
        assert np.allclose(outputs[n] - inputs[n], estimate, rtol=1e-3, atol=1e-4)


def run(predictor: FreqCa, growth: list[Tensor], interval: int) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs of a toy whose blocks add six times the growth of each step, and its inputs."""
    inputs = [torch.full((1, TOKENS, 2), float(n)) for n in range(len(growth))]
    pipe = ToyPipeline(ToyModel())
    method = WithPredictor(FORA(interval), predictor)
    with torch.no_grad(), skipstone.attach(pipe, method):
        return pipe([{"hidden_states": x, "temb": g} for x, g in zip(inputs, growth, strict=True)]), inputs


def zip_recursively(newest: Any, old: list[Any]) -> Any:
    """Each order's newest value with the old one of the order below, as a recursion over two orders."""
    for before in old[:2]:
        yield newest, before
        newest = (newest - before) / 4


def series(differences: list[Any], distance: int, scale: float = 0.71) -> Any:
    """The sum of differences over factorials, times scaled Hermite polynomials, up to order 2."""
    x = scale * distance
    terms = [1.0, scale * 2 * x, scale**2 / 2 * (4 * x**2 - 2)]
    return sum(term * value for term, value in zip(terms, differences, strict=False))


def low_band(values: Any, cutoff: float) -> Any:
    frequencies = abs(np.fft.fftfreq(values.shape[1]))
    inside = frequencies <= cutoff * max(frequencies)
    return np.fft.ifft(np.fft.fft(values, axis=1) * inside[:, None], axis=1).real


@pytest.mark.parametrize(
    ("make", "gate"),
    [(wan, FORA(2)), (flux, RunCap(FirstBlock(1e9), 1)),
     (wan, PAB(2, 2, 2, from_timestep=1e9, until_timestep=-1e9)),
     (stable_diffusion, DeepCache(2)), (stable_diffusion, FORA(2))],
)  # fmt: skip
def test_at_every_site_it_is_reuse_where_all_is_low(make: Callable[[], Tiny], gate: Cacher[Any]) -> None:
    outputs = {}
    for predictor in (Reuse(), FreqCa(cutoff=1.0), FreqCa()):
        tiny = make()
        with skipstone.attach(tiny.pipe, WithPredictor(gate, predictor)):
            outputs[predictor] = tiny()
    reused, all_low, bands = outputs.values()
    torch.testing.assert_close(all_low, reused, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(bands, reused, rtol=1e-3, atol=1e-3)
