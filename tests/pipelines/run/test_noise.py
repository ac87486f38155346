"""What a step knows of its noise, and how the model's latents are laid out for a gate."""

from typing import Any

import diffusers
import pytest
import torch

from skipstone.pipelines.model.probes import model_input, model_output
from skipstone.pipelines.run.noise import levels
from skipstone.pipelines.run.schedule import Schedule
from support import tiny
from support.followed import followed
from support.toy import ToyModel, ToyPipeline, constant


def test_a_flow_mixes_in_a_straight_line() -> None:
    pipe = ToyPipeline(ToyModel())
    _, taken = followed(pipe)
    pipe(constant(5))
    assert [step.noise for step in taken] == [step.sigma for step in taken]
    assert [step.signal for step in taken] == [1 - step.sigma for step in taken if step.sigma is not None]


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_other_schedulers_agree_with_their_own_noise(name: str) -> None:
    """The share of the sample is the root of ``alphas_cumprod`` at the timestep, however they store it."""
    scheduler: Any = getattr(diffusers, name)()
    scheduler.set_timesteps(7)
    times = scheduler.timesteps.tolist()
    sigmas = getattr(scheduler, "sigmas", None)
    found = levels(scheduler, times, [] if sigmas is None else sigmas.tolist())
    for time, (signal, noise) in zip(times, found, strict=True):
        assert signal is not None
        assert noise is not None
        assert signal**2 + noise**2 == pytest.approx(1)
        low, high = scheduler.alphas_cumprod[int(time)], scheduler.alphas_cumprod[min(int(time) + 1, 999)]
        assert min(low, high) - 1e-4 <= signal**2 <= max(low, high) + 1e-4


def test_a_scheduler_that_says_nothing_has_no_levels() -> None:
    assert levels(object(), [3.0, 2.0], []) == [(None, None)] * 2


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("wan", (1, 4, 2, 4, 4)),
        ("flux", (1, 16, 4, 4)),
        ("cogvideox", (2, 4, 2, 4, 4)),
        ("sd3", (2, 4, 8, 8)),
    ],
)
def test_latents_are_laid_out_channels_first(name: str, shape: tuple[int, ...]) -> None:
    pipe = tiny.PIPELINES[name]()
    model, seen = pipe.pipe.transformer, []
    hook = model.register_forward_hook(
        lambda module, args, kwargs, output: seen.append((args, kwargs, output)), with_kwargs=True
    )
    pipe(num_inference_steps=2)
    hook.remove()
    args, kwargs, output = seen[0]
    latents, returned = model_input(model, args, kwargs), model_output(model, output)
    assert latents is not None
    assert returned is not None
    assert latents.shape == shape
    assert returned.numel() == latents.numel()


def test_packed_tokens_are_spread_by_their_positions() -> None:
    model = ToyModel()
    tokens = torch.arange(6.0).reshape(1, 6, 1)
    positions = torch.tensor([[0, row, column] for row in range(2) for column in range(3)])
    spread = model_input(model, (tokens,), {"img_ids": positions})
    assert spread is not None
    assert spread.tolist() == [[[[0, 1, 2], [3, 4, 5]]]]
    plain = model_input(model, (tokens,), {"img_ids": positions[:5] * 2})
    assert plain is not None
    assert plain.tolist() == [[[0, 1, 2, 3, 4, 5]]]


def test_latents_may_come_after_other_arguments_and_as_a_list() -> None:
    class Listed(torch.nn.Module):
        def forward(self, tokens: Any, x: Any, t: Any) -> Any:
            return [x[0], x[1]]

    model, samples = Listed(), [torch.ones(4, 2, 3), torch.zeros(4, 2, 3)]
    latents = model_input(model, (torch.ones(2, 5, dtype=torch.long), samples), {"t": torch.ones(2)})
    assert latents is not None
    assert latents.shape == (2, 4, 2, 3)
    assert model_input(model, (None, [samples[0], samples[0][:, :1]]), {}) is None
    returned = model_output(model, (model(None, samples, None),))
    assert returned is not None
    assert returned.shape == (2, 4, 2, 3)


@pytest.mark.parametrize(
    ("scheduler", "sigma"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(), 0.0),
        (diffusers.EulerDiscreteScheduler(), 0.0),
        (diffusers.DDIMScheduler(), 0.0),
        (diffusers.EulerDiscreteScheduler(final_sigmas_type="sigma_min"), 0.01),
    ],
)
def test_a_schedule_ends_at_its_last_sigma(scheduler: Any, sigma: float) -> None:
    scheduler.set_timesteps(5)
    schedule = Schedule.of(scheduler)
    assert schedule.time_after(4) == schedule.end == pytest.approx(sigma / (1 + sigma), abs=1e-4)
    signal, noise = schedule.levels[3]
    assert schedule.time_after(2) == noise / (signal + noise)
