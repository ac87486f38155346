"""How much of each output is in what solvers go on from, against what they do with random outputs."""

import copy
from collections.abc import Callable
from typing import Any

import diffusers as d
import numpy as np
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, WithSettling
from skipstone.pipelines.run import effects as effects_module
from skipstone.pipelines.run.effects import MOST_KNOWN, effects, held
from skipstone.pipelines.run.noise import in_latents, prediction, response
from skipstone.pipelines.run.samplers import keeps
from skipstone.pipelines.run.schedule import Schedule
from support.solving import Solving
from support.tiny_pipelines import PIPELINES

STEPS = 9
FLOWS: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}

SOLVERS: dict[str, Callable[[], Any]] = {
    "flow-match Euler": lambda: d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "DDIM": lambda: d.DDIMScheduler(clip_sample=False),
    "DDIM of v, parallel": lambda: d.DDIMParallelScheduler(clip_sample=False, prediction_type="v_prediction"),
    "DDIM of CogVideoX": lambda: d.CogVideoXDDIMScheduler(clip_sample=False, rescale_betas_zero_snr=True),
    "Euler": lambda: d.EulerDiscreteScheduler(timestep_spacing="trailing"),
    "Euler, renamed": lambda: Renamed(timestep_spacing="trailing"),
    "DPM++": d.DPMSolverMultistepScheduler,
    "DPM of third order": lambda: d.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver", solver_order=3, final_sigmas_type="sigma_min"
    ),
    "DPM++ of flows": lambda: d.DPMSolverMultistepScheduler(**FLOWS),
    "UniPC": d.UniPCMultistepScheduler,
    "UniPC of flows": lambda: d.UniPCMultistepScheduler(**FLOWS),
    "UniPC without corrector": lambda: d.UniPCMultistepScheduler(solver_order=3, disable_corrector=[0, 1, 2]),
}


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("name", SOLVERS)
def test_what_a_solver_goes_on_from_is_the_sum_of_outputs_that_the_effects_say(name: str, first: int) -> None:
    scheduler = SOLVERS[name]()
    scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    schedule = Schedule.of(scheduler)
    rows = effects(scheduler, schedule, first, STEPS - first)
    outputs = torch.randn(STEPS - first, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    latents = torch.zeros(outputs.shape[1:])
    for n, (row, output) in enumerate(zip(rows, outputs, strict=True), first):
        time = scheduler.timesteps[n]
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, time)
        answering = copy.deepcopy(scheduler)
        echo = summed(row.echo, outputs)
        answer = response(prediction(scheduler), *in_latents(scheduler, schedule.levels[n]))
        torch.testing.assert_close(echo, answer * latents, rtol=1e-3, atol=1e-4)
        after = answering.step(output + echo, time, latents, return_dict=False)[0]
        for one in held(answering, after, row):
            torch.testing.assert_close(one.tensor, summed(one.effects, outputs), rtol=1e-3, atol=1e-4)
        latents = scheduler.step(output, time, latents, return_dict=False)[0]


def summed(effects: Any, outputs: Tensor) -> Tensor:
    return torch.tensordot(torch.tensor(effects).float(), outputs, 1)


@pytest.mark.parametrize("name", ["DDIM", "Euler", "Euler, renamed", "DPM++", "UniPC"])
def test_predicted_noise_answers_to_what_the_step_before_did_to_latents(name: str) -> None:
    """Of Gaussian samples of unit variance, noise has this share of the latents' variance."""
    scheduler = SOLVERS[name]()
    scheduler.set_timesteps(STEPS)
    echo = effects(scheduler, Schedule.of(scheduler), 0, STEPS)[1].echo
    first, second = scheduler.timesteps[:2]
    moved = float(scheduler.step(torch.ones(1, 1, 1, 1), first, torch.zeros(1, 1, 1, 1))[0])
    noise = float(1 - scheduler.alphas_cumprod[int(second)]) ** 0.5
    signal = (1 - noise**2) ** 0.5 if name.startswith("Euler") else 1.0
    assert echo[0] == pytest.approx(noise * signal * moved, rel=0.02)
    assert not echo[1:].any()


@pytest.mark.parametrize(
    ("output", "signal", "noise", "expected"),
    [("epsilon", 0.6, 0.8, 0.8), ("sample", 0.6, 0.8, 0.6), ("epsilon", 1.0, 3.0, 0.3), ("v", 0.6, 0.8, 0.0),
     ("flow", 0.5, 0.5, 0.0), ("epsilon", None, None, 0.0)],
)  # fmt: skip
def test_how_outputs_answer(output: Any, signal: float | None, noise: float | None, expected: float) -> None:
    assert response(output, signal, noise) == pytest.approx(expected)


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    known: dict[Any, Any] = {}
    monkeypatch.setattr(effects_module, "_known", known)
    return known


def found_on(scheduler: Any, schedule: Schedule, device: str) -> list[Any]:
    """All that is found where this is torch's default device."""
    effects_module._known.clear()
    with torch.device(device):
        return [[row.echo, *row.held] for row in effects(scheduler, schedule, 0, STEPS)]


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_tried_on_the_host_whatever_the_default_device(name: str, nothing_known: Any) -> None:
    scheduler = SOLVERS[name]()
    scheduler.set_timesteps(STEPS)
    schedule = Schedule.of(scheduler)
    np.testing.assert_equal(*(found_on(scheduler, schedule, device) for device in ("meta", "cpu")))


class Elsewhere(Tensor):
    """Can only be copied to the host, as if it were on a device."""

    @classmethod
    def __torch_function__(cls, what: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert what is Tensor.to, f"{what} of tensors on two devices"
        with torch._C.DisableTorchFunctionSubclass():
            return args[0].as_subclass(Tensor)


def test_a_table_that_adding_noise_has_left_on_a_device_is_copied(nothing_known: Any) -> None:
    scheduler = SOLVERS["DDIM"]()
    scheduler.set_timesteps(STEPS)
    schedule = Schedule.of(scheduler)
    usual = found_on(scheduler, schedule, "cpu")
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.as_subclass(Elsewhere)
    np.testing.assert_equal(found_on(scheduler, schedule, "cpu"), usual)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_on_a_gpu_is_tried_on_the_host(name: str, nothing_known: Any) -> None:
    found = []
    for device in ("cpu", "cuda"):
        scheduler, picture = SOLVERS[name](), torch.ones(1, 4, 2, 2, device=device)
        scheduler.set_timesteps(STEPS, device=device)
        if hasattr(scheduler, "add_noise"):
            scheduler.add_noise(picture, picture, scheduler.timesteps[:1])
        found.append(found_on(scheduler, Schedule.of(scheduler), "cpu"))
    np.testing.assert_allclose(*map(flat, found), rtol=1e-5)


def flat(found: list[Any]) -> Any:
    return np.concatenate([one for row in found for one in row if one is not None])


def test_effects_are_found_once_for_a_schedule_and_of_the_newest_schedules(nothing_known: Any) -> None:
    scheduler = d.DDIMScheduler(clip_sample=False)

    def found(steps: int) -> Any:
        scheduler.set_timesteps(steps)
        return effects(scheduler, Schedule.of(scheduler), 0, steps)

    first = found(1)
    assert found(1) is first
    for steps in range(2, MOST_KNOWN + 3):
        found(steps)
    assert len(nothing_known) == MOST_KNOWN
    assert found(1) is not first


def test_one_schedule_begun_elsewhere_has_other_effects(nothing_known: Any) -> None:
    scheduler = d.DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(STEPS)
    begun, late = (effects(scheduler, Schedule.of(scheduler), first, 1)[0].held[0] for first in (0, 4))
    assert begun != pytest.approx(late)


def test_a_solver_is_left_as_it_was_and_what_it_keeps_is_its_own() -> None:
    scheduler = d.UniPCMultistepScheduler(prediction_type="sample")
    scheduler.set_timesteps(STEPS)
    output: Tensor = torch.ones(1, 4, 2, 2)
    latents = scheduler.step(output, scheduler.timesteps[0], output, return_dict=False)[0]
    before = {name: value for name, value in vars(scheduler).items() if name not in keeps(scheduler)}
    (row, *_) = effects(scheduler, Schedule.of(scheduler), 0, STEPS)
    for one in held(scheduler, latents, row)[1:]:
        one.tensor.add_(1.0)
    assert all(vars(scheduler)[name] is value for name, value in before.items())
    assert torch.equal(output, torch.ones_like(output))
    assert torch.equal(scheduler.model_outputs[-1], output + 1.0)


class EulerDiscreteScheduler(d.EulerDiscreteScheduler):
    """Somebody's own, with the name of its base."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


class Renamed(d.EulerDiscreteScheduler):
    """With the step of its base."""


def test_what_takes_a_step_counts_not_its_name() -> None:
    assert keeps(Renamed()) == ()
    assert keeps(EulerDiscreteScheduler()) is None
    followed = Solving(Renamed())
    with skipstone.attach(followed, WithSettling(FORA(3))):
        assert keeps(followed.scheduler) == ()


@pytest.mark.parametrize(
    "scheduler",
    [
        d.DDIMScheduler(),
        d.DDIMScheduler(clip_sample=False, thresholding=True),
        d.DDIMInverseScheduler(),
        d.EulerAncestralDiscreteScheduler(),
        d.FlowMatchHeunDiscreteScheduler(),
        d.HeunDiscreteScheduler(),
        d.UniPCMultistepScheduler(solver_p=d.DDIMScheduler()),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_of_solvers_that_do_more_nothing_is_known(scheduler: Any) -> None:
    assert keeps(scheduler) is None


def test_a_pipeline_that_mixes_latents_into_outputs_leaves_nothing_to_settle() -> None:
    """As Cosmos does, which says so in its scheduler's configuration."""
    scheduler = PIPELINES["cosmos2-image"].make().pipe.scheduler
    assert type(scheduler) is d.FlowMatchEulerDiscreteScheduler
    assert keeps(scheduler) is None
