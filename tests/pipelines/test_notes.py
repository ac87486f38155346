"""A run that skipped little, or nothing, says why."""

from typing import Any

import diffusers as d
import pytest
import torch

import skipstone
from skipstone import FirstBlock, TeaCache, Warmup
from skipstone.pipelines.run.samplers import draws_noise
from support import tiny
from support.tiny_pipelines import PIPELINES
from support.toy import ToyModel, ToyPipeline, constant

NEVER = FirstBlock(threshold=1e9)
TOO_FEW = "leave too few that could be skipped"


@pytest.mark.parametrize(
    ("method", "steps", "planned", "hints"),
    [
        (Warmup(NEVER, 12), 12, 12, True),
        (NEVER, 1, 1, True),
        (TeaCache(threshold=0.0), 8, 8, True),
        (TeaCache(threshold=0.0), 9, 9, False),
        (Warmup(NEVER, 12), 3, 12, False),
        (NEVER, 4, 4, False),
    ],
    ids=["warm-up", "one step", "far apart", "enough", "broken off", "skipping"],
)
def test_a_run_with_too_few_steps_says_so(method: Any, steps: int, planned: int, hints: bool) -> None:
    with skipstone.attach(pipe := ToyPipeline(ToyModel()), method) as cache:
        pipe(constant(steps), steps=planned)
    assert any(TOO_FEW in note for note in cache.last_run.notes) == hints
    assert (TOO_FEW in str(cache.last_run)) == hints


@pytest.mark.parametrize(
    ("scheduler", "arguments", "noisy"),
    [
        (d.EulerAncestralDiscreteScheduler(), {}, True),
        (d.DDPMScheduler(), {}, True),
        (d.LCMScheduler(), {}, True),
        (d.TCDScheduler(), {}, True),
        (d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), {}, True),
        (d.DPMSolverMultistepScheduler(), {}, False),
        (d.DDIMScheduler(), {"eta": 0.5}, True),
        (d.DDIMScheduler(), {"eta": 0.0}, False),
        (d.EulerDiscreteScheduler(), {"s_churn": 0.1}, True),
        (d.EulerDiscreteScheduler(), {}, False),
        (d.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), {}, True),
        (d.FlowMatchEulerDiscreteScheduler(), {}, False),
        (d.UniPCMultistepScheduler(), {}, False),
        (d.HeunDiscreteScheduler(), {}, False),
    ],
)
def test_a_sampler_with_noise_is_recognised(scheduler: Any, arguments: dict[str, float], noisy: bool) -> None:
    assert draws_noise(scheduler, arguments) == noisy


@pytest.mark.skipif(not hasattr(d, "LTXEulerAncestralRFScheduler"), reason="this diffusers has no such class")
def test_an_ancestral_sampler_may_be_set_to_no_noise() -> None:
    assert draws_noise(d.LTXEulerAncestralRFScheduler(), {})
    assert not draws_noise(d.LTXEulerAncestralRFScheduler(eta=0.0), {})


@pytest.fixture(scope="module")
def diffusion() -> tiny.Tiny:
    return PIPELINES["pixart-sigma"].make()


@pytest.mark.parametrize(
    ("scheduler", "eta", "noisy"),
    [
        (d.EulerAncestralDiscreteScheduler(), 0.0, True),
        (d.DDIMScheduler(), 1.0, True),
        (d.DDIMScheduler(), 0.0, False),
    ],
)
def test_a_run_with_noise_expects_few_skips(
    scheduler: Any, eta: float, noisy: bool, diffusion: tiny.Tiny
) -> None:
    diffusion.pipe.scheduler = scheduler
    diffusion.kwargs["eta"] = eta
    with skipstone.attach(diffusion.pipe, "teacache") as cache:
        diffusion()
    notes = [note for note in cache.last_run.notes if "expect few skips" in note]
    assert [note.startswith(type(scheduler).__name__) for note in notes] == [True] * noisy


def test_noise_of_one_run_is_not_said_of_the_next(diffusion: tiny.Tiny) -> None:
    diffusion.pipe.scheduler = d.DDIMScheduler()
    with skipstone.attach(diffusion.pipe, "teacache") as cache:
        for eta, noisy in ((1.0, True), (0.0, False)):
            diffusion.kwargs["eta"] = eta
            diffusion()
            assert ("expect few skips" in str(cache.last_run)) == noisy


def test_a_model_that_the_run_never_called_is_named() -> None:
    pipe = ToyPipeline(ToyModel())
    pipe.transformer_2 = ToyModel()  # type: ignore[attr-defined]
    with skipstone.attach(pipe, NEVER) as cache:
        assert str(cache.last_run).endswith("no run yet")
        pipe(constant(4))
        assert cache.last_run.notes == (
            "transformer_2: the run never called it, so nothing of it was cached",
        )
        pipe.transformer = ToyModel()
        pipe(constant(4))
        assert [note.split(":")[0] for note in cache.last_run.notes] == ["transformer", "transformer_2"]
        assert "transformer: the run never called it" in str(cache.last_run)


@torch.no_grad()
def test_calls_outside_a_run_are_said() -> None:
    pipe, ones = ToyPipeline(ToyModel()), torch.ones(1, 4, 2)
    note = "transformer: it was called outside a run's steps, and that was not cached"
    with skipstone.attach(pipe, NEVER) as cache:
        pipe.transformer(ones, ones)
        assert cache.last_run.notes == (note,)
        pipe(constant(4))
        assert cache.last_run.notes == ()
        pipe.transformer(ones, ones)
        assert cache.last_run.notes == (note,)
