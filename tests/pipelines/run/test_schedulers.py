"""Every kind of sampler: the clock counts its steps, and a cache on it is right."""

from typing import Any

import diffusers as d
import pytest
import torch

import skipstone
from skipstone import TeaCache
from skipstone.pipelines.run.schedulers import Following, Taken
from support import tiny
from support.tiny_pipelines import PIPELINES

SCHEDULERS: dict[str, tuple[Any, int]] = {
    "flow-match Euler": (d.FlowMatchEulerDiscreteScheduler(), 6),
    "flow-match Heun": (d.FlowMatchHeunDiscreteScheduler(), 11),
    "UniPC": (d.UniPCMultistepScheduler(), 6),
    "DPM++ 2M": (d.DPMSolverMultistepScheduler(), 6),
    "DPM++ 2M SDE": (d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), 6),
    "DDIM": (d.DDIMScheduler(), 6),
    "DDPM": (d.DDPMScheduler(), 6),
    "Euler ancestral": (d.EulerAncestralDiscreteScheduler(), 6),
    "Heun": (d.HeunDiscreteScheduler(), 11),
    "LCM": (d.LCMScheduler(), 6),
}
"""Each with how many evaluations of a branch six of its steps take."""

every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


@pytest.fixture(scope="module")
def pipes() -> dict[bool, tiny.Tiny]:
    """A pipeline for flow matching, without guidance, and one for diffusion."""
    flow, diffusion = PIPELINES["wan"].make(), PIPELINES["pixart-sigma"].make()
    flow.kwargs["guidance_scale"] = 1.0
    for pipe in (flow, diffusion):
        pipe.kwargs["num_inference_steps"] = 6
    return {True: flow, False: diffusion}


@pytest.fixture
def pipe(name: str, pipes: dict[bool, tiny.Tiny]) -> tiny.Tiny:
    pipe = pipes[name.startswith("flow-match")]
    pipe.pipe.scheduler = SCHEDULERS[name][0]
    return pipe


@every_scheduler
def test_gate_off_is_exact_and_counts_the_evaluations(name: str, pipe: tiny.Tiny) -> None:
    bare = pipe()
    with skipstone.attach(pipe.pipe, TeaCache(threshold=0.0)) as cache:
        assert torch.equal(pipe(), bare)
    run = cache.last_run
    assert run.evaluations == run.steps == run.planned_steps == SCHEDULERS[name][1]
    assert run.reasons["first step"] == 1
    assert torch.isfinite(bare).all()


@every_scheduler
def test_the_first_and_last_steps_are_where_the_sampler_has_them(name: str, pipe: tiny.Tiny) -> None:
    bare, times = pipe(), []
    with skipstone.attach(pipe.pipe, TeaCache(threshold=1e9)) as cache:
        cache.watch(lambda step, computed, skipped: times.append(step.timestep))
        first = pipe()
        strip = cache.last_run.strip
        assert torch.equal(pipe(), first)
    assert strip == f"#{'.' * (SCHEDULERS[name][1] - 2)}#"
    assert torch.isfinite(first).all()
    assert not torch.equal(first, bare)
    assert times == 2 * SCHEDULERS[name][0].timesteps.tolist()


class Bare(d.DDIMScheduler):
    """Names none of its arguments."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "DDIM": (d.DDIMScheduler(), lambda out, time, latents: (out, time, latents, 0.0)),
    "DPM of CogVideoX": (
        d.CogVideoXDPMScheduler(),
        lambda out, time, latents: (out, None, time, None, latents),
    ),
    "without names": (Bare(), lambda out, time, latents: (out, time, latents)),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_steps_arguments_are_found_by_their_names_wherever_they_stand(name: str) -> None:
    class Noting:
        def on_set(self, scheduler: Any) -> None: ...

        def on_step(self, scheduler: Any, taken: Taken) -> None:
            found.append(taken)

    found: list[Taken] = []
    scheduler, order = ARGUMENTS[name]
    noting = Noting()
    following = Following(noting)
    following.follow(scheduler)
    scheduler.set_timesteps(4)
    output, latents, time = torch.ones(1, 4), torch.zeros(1, 4), scheduler.timesteps[0]
    made = scheduler.step(*order(output, time, latents), return_dict=False)
    following.stop()
    assert (found[0].output is output, found[0].timestep is time) == (True, True)
    assert (found[0].sample is latents, found[0].latents is made[0]) == (True, True)
