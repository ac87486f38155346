"""What steps count: by what the solver makes of an error, and by how early it is."""

from typing import Any, get_args

import diffusers
import numpy as np
import pytest
import torch

from skipstone.pipelines.run.noise import levels, prediction
from skipstone.schedules.importance import LEAST_SIGNAL, Prediction, step_importance, step_weights

STEPS = 20


def moved(scheduler: Any, step: int) -> float:
    """By how much a step moves the latents for a unit of output."""
    none, unit = torch.zeros(1, 1, 1, 1), 1e-3
    still, other = (after(scheduler, step, output, none) for output in (none, none + unit))
    return (other - still) / unit


def after(scheduler: Any, step: int, output: torch.Tensor, latents: torch.Tensor) -> float:
    """What a scheduler's step makes of an output."""
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(STEPS)
    if hasattr(fresh, "set_begin_index"):
        fresh.set_begin_index(step)
    return float(fresh.step(output, fresh.timesteps[step], latents)[0].item())


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("DDIMScheduler", {"prediction_type": "epsilon", "clip_sample": False}),
        ("DDIMScheduler", {"prediction_type": "v_prediction", "clip_sample": False}),
        ("DDIMScheduler", {"prediction_type": "sample", "clip_sample": False}),
        ("EulerDiscreteScheduler", {"prediction_type": "epsilon", "timestep_spacing": "trailing"}),
    ],
)
def test_a_step_counts_by_what_its_scheduler_makes_of_an_error(name: str, config: dict[str, Any]) -> None:
    """In flow time, where sample and noise are mixed by shares that sum to 1."""
    scheduler: Any = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(STEPS)
    sigmas = getattr(scheduler, "sigmas", torch.zeros(0)).tolist()
    mixes = [*levels(scheduler, scheduler.timesteps.tolist(), sigmas), (1.0, 0.0)]
    times = [noise / (signal + noise) for signal, noise in mixes]  # type: ignore[operator]
    shares = [signal + noise for signal, noise in mixes[1:]]  # type: ignore[operator]
    if name.startswith("Euler"):  # its latents are scaled for the model only
        shares = [share / signal for share, (signal, _) in zip(shares, mixes[1:], strict=True)]  # type: ignore[operator]
    moves = [moved(scheduler, step) for step in range(STEPS)]
    expected = np.square(np.array(moves) / shares) / (1 - np.array(times[:-1]) + LEAST_SIGNAL)
    found = step_weights(times[:-1], prediction(scheduler))
    assert found[1:] / found[1:].mean() == pytest.approx(expected[1:] / expected[1:].mean(), rel=0.02)


@pytest.mark.parametrize("power", [1, 2])
def test_the_choice_of_steps_heeds_predicted_noise_less_where_the_signal_is_faint(power: int) -> None:
    times = (1 - LEAST_SIGNAL * np.array([0.25, 0.5, 1, 2, 16])).tolist()
    heeded = step_importance(times, "epsilon", power) / step_weights(times, "epsilon", power)
    assert heeded / heeded[-1] == pytest.approx([0.25**power, 0.5**power, 1, 1, 1])


@pytest.mark.parametrize("kind", sorted({*get_args(Prediction)} - {"epsilon"}))
def test_the_choice_of_steps_heeds_other_outputs_alike_at_all_levels(kind: Prediction) -> None:
    times = [0.994, 0.97, 0.1]
    heeded = step_importance(times, kind) / step_weights(times, kind)
    assert heeded == pytest.approx(heeded.mean())


def test_importance_is_1_on_average_and_finite_where_nothing_of_the_sample_is_left() -> None:
    for kind in get_args(Prediction):
        found = step_importance([1.0, 0.9, 0.3], kind)
        assert found.mean() == pytest.approx(1)
        assert np.isfinite(found).all()


def test_steps_that_stay_on_a_level_count_too() -> None:
    """As second evaluations of Heun's method do; of length 0 they would be skipped whatever they cost."""
    assert (step_importance([1.0, 0.5, 0.5, 0.25], "flow") > 0).all()


def test_a_prediction_without_a_name_counts_as_flow() -> None:
    assert prediction(diffusers.EDMEulerScheduler(prediction_type="sample")) == "sample"
    assert prediction(diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction")) == "flow"
    assert prediction(diffusers.DDIMScheduler()) == "epsilon"
    # Sigmas of a flow say nothing of what the model predicts.
    assert prediction(diffusers.UniPCMultistepScheduler(use_flow_sigmas=True)) == "epsilon"
