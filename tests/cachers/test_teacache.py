"""TeaCache against its rule, worked out a second time in numpy, and its published polynomials."""

import importlib

import numpy as np
import pytest
import torch

import skipstone
from skipstone import FirstBlock, TeaCache
from skipstone.cachers import Reason, Step
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.words import ModelFacts, Outcome
from skipstone.pipelines.model.probes import time_embeddings, time_projections
from skipstone.schedules.published.polynomials import IDENTITY, PUBLISHED, published, published_for
from support import tiny


def trace(steps: int, seed: int = 0) -> torch.Tensor:
    """A probe that moves fast, slow, and fast again."""
    generator = torch.Generator().manual_seed(seed)
    pace = torch.linspace(-1, 1, steps).square() * 0.2 + 0.01
    moves = torch.randn(steps, 1, 6, 4, generator=generator) * pace[:, None, None, None]
    return torch.randn(1, 1, 6, 4, generator=generator) + moves.cumsum(0)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2, 0.6])
@pytest.mark.parametrize("rescale", ["none", "flux", "latte"])
def test_decisions_follow_the_rule(threshold: float, rescale: str) -> None:
    probes = trace(40)
    method = TeaCache(threshold=threshold, rescale=rescale)
    state = method.new_state()
    decisions = []
    for index, probe in enumerate(probes):
        step = Step(index, len(probes), 0.0)
        reason = method.reason_to_compute(probe, step, state)
        if reason is not None:
            method.update(probe, Outcome(), step, state)
        decisions.append(reason is not None)
    assert decisions == by_hand(probes.numpy(), threshold, published(rescale).coefficients)


def by_hand(probes: np.ndarray, threshold: float, coefficients: tuple[float, ...]) -> list[bool]:
    polynomial = np.poly1d(coefficients)
    decisions, accumulated = [True], 0.0
    for index in range(1, len(probes)):
        change = np.abs(probes[index] - probes[index - 1]).mean() / np.abs(probes[index - 1]).mean()
        accumulated += max(polynomial(change), 0.0)
        compute = index == len(probes) - 1 or accumulated >= threshold
        accumulated = 0.0 if compute else accumulated
        decisions.append(bool(compute))
    return decisions


def test_first_block_compares_with_the_last_computed_step() -> None:
    probes = trace(40)
    method, reference, expected, decisions = FirstBlock(threshold=0.3), None, [], []
    state = method.new_state()
    for index, probe in enumerate(probes):
        reason = method.reason_to_compute(probe, Step(index, 40, 0.0), state)
        if reason is not None:
            method.update(probe, Outcome(), Step(index, 40, 0.0), state)
        decisions.append(reason is not None)
        array = probe.numpy()
        compute = reference is None or np.abs(array - reference).mean() / np.abs(reference).mean() >= 0.3
        reference = array if compute else reference
        expected.append(bool(compute))
    assert decisions == expected
    assert 1 < sum(decisions) < 40


@pytest.mark.parametrize(
    ("name", "value"),
    [("latte", 0.130), ("open-sora-1.2", 0.100), ("open-sora-plan-1.1", 0.261), ("hunyuan-video", 0.062),
     ("flux", 0.180), ("ltx-video", 0.054)],
)  # fmt: skip
def test_published_polynomials_at_five_percent(name: str, value: float) -> None:
    assert published(name)(0.05) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "change"), [("latte", 0.3), ("cogvideox-5b", 0.4), ("mochi-1", 0.2), ("wan2.1-t2v-14b", 0.05)]
)
def test_a_polynomial_is_never_negative(name: str, change: float) -> None:
    assert np.poly1d(published(name).coefficients)(change) < 0
    assert published(name)(change) == 0.0


def test_a_polynomial_keeps_nan() -> None:
    assert np.isnan(published("flux")(float("nan")))


def test_every_published_set_names_a_real_model_and_only_its_own() -> None:
    diffusers = importlib.import_module("diffusers")
    for polynomial in PUBLISHED:
        if polynomial.model:
            assert hasattr(diffusers, polynomial.model)
            config = {"num_attention_heads": None, "in_channels": 16, **polynomial.config}
            found = published_for(polynomial.model, config, polynomial.retention)
            assert found.name == polynomial.name
    assert len({polynomial.name for polynomial in PUBLISHED}) == len(PUBLISHED)


def test_all_published_coefficients_are_there() -> None:
    assert len({polynomial.coefficients for polynomial in PUBLISHED}) == 23


def test_retention_must_be_asked_for_and_have_a_set() -> None:
    small = {"num_layers": 30, "num_attention_heads": 12, "in_channels": 16}
    wan = ModelFacts("WanTransformer3DModel", small)
    assert TeaCache().for_model(wan).rescale == "wan2.1-t2v-1.3b"
    assert TeaCache(rescale="retention").for_model(wan).rescale == "wan2.1-t2v-1.3b-retention"
    with pytest.raises(ValueError, match="no retention set for this SomeModel"):
        TeaCache(rescale="retention").for_model(ModelFacts("SomeModel", {}))


def test_retention_computes_the_first_five_steps_and_not_the_last() -> None:
    pipe = tiny.wan()
    method = TeaCache(rescale="wan2.1-t2v-1.3b-retention", threshold=1e9)
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe(num_inference_steps=9)
    assert cache.last_run.strip == "#####...."


@pytest.mark.parametrize(("count", "first"), [(50, 5), (28, 2), (4, 1)])
def test_hidream_computes_the_first_tenth_and_not_the_last(count: int, first: int) -> None:
    forced = [published("hidream-i1").forced(index, count) for index in range(count)]
    assert forced == [True] * first + [False] * (count - first)


def test_time_projections_are_the_models_own() -> None:
    pipe = tiny.wan()
    seen: list[torch.Tensor] = []
    layer = pipe.pipe.transformer.condition_embedder.time_proj
    hook = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    pipe(num_inference_steps=3)
    hook.remove()
    projections = time_projections(pipe.pipe.transformer, pipe.pipe.scheduler.timesteps.tolist())
    assert projections is not None
    torch.testing.assert_close(projections, torch.cat(seen[::2]))


def test_the_set_is_chosen_by_class_and_configuration() -> None:
    flux_dev = ModelFacts("FluxTransformer2DModel", {"num_layers": 19, "num_single_layers": 38})
    small_flux = ModelFacts("FluxTransformer2DModel", {"num_layers": 2, "num_single_layers": 4})
    assert "rescale flux" in TeaCache().for_model(flux_dev).describe()
    assert "rescale none" in TeaCache().for_model(small_flux).describe()
    assert TeaCache(rescale="latte").for_model(flux_dev).rescale == "latte"
    assert published_for("SomeModel", {}) is IDENTITY


def test_the_default_threshold_is_the_careful_setting_of_the_set() -> None:
    flux_dev = ModelFacts("FluxTransformer2DModel", {"num_layers": 19, "num_single_layers": 38})
    assert TeaCache().for_model(flux_dev).threshold == 0.25
    assert TeaCache(threshold=0.4).for_model(flux_dev).threshold == 0.4
    assert TeaCache(rescale="wan2.1-t2v-1.3b").for_model(flux_dev).threshold == 0.05
    assert TeaCache().for_model(ModelFacts("SomeModel", {})).threshold == 0.05


def test_time_embedding_decisions_do_not_depend_on_the_prompt() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, "teacache", rescale="wan2.1-t2v-1.3b", threshold=0.3) as cache:
        pipe()
        one = cache.last_run
        pipe(prompt_embeds=torch.randn(1, 6, 8), negative_prompt_embeds=torch.randn(1, 6, 8))
    assert cache.last_run.strip == one.strip
    assert "+" not in one.strip
    assert one.branches["transformer cond"] == one.branches["transformer uncond"]


def test_time_embeddings_are_the_models_own() -> None:
    pipe = tiny.wan()
    seen: list[torch.Tensor] = []
    embedder = pipe.pipe.transformer.condition_embedder.time_embedder
    hook = embedder.register_forward_hook(lambda module, args, output: seen.append(output))
    pipe(num_inference_steps=3)
    hook.remove()
    times = pipe.pipe.scheduler.timesteps.tolist()
    embeddings = time_embeddings(pipe.pipe.transformer, times)
    assert embeddings is not None
    torch.testing.assert_close(embeddings, torch.cat(seen[::2]))


def test_a_distance_is_that_of_the_sample_that_moved_most() -> None:
    reference = torch.ones(3, 2, 2)
    current = reference * torch.tensor([1.0, 1.5, 0.9])[:, None, None]
    assert relative_l1(current, reference) == pytest.approx(0.5)
    assert relative_l1(reference, reference) == 0.0


@pytest.mark.parametrize(("current", "reference"), [(0.0, 0.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_distance_that_means_nothing_is_not_finite(current: float, reference: float) -> None:
    assert not np.isfinite(relative_l1(torch.full((1, 4), current), torch.full((1, 4), reference)))


def test_an_idle_probe_computes_nothing_but_the_ends() -> None:
    method = TeaCache(threshold=0.1, rescale="none")
    state, probe = method.new_state(), torch.ones(1, 4)
    reasons = [method.reason_to_compute(probe, Step(index, 4, 0.0), state) for index in range(4)]
    assert reasons == [Reason.FIRST_STEP, None, None, Reason.LAST_STEP]
