"""Steps are read from the scheduler, in every way that pipelines drive it."""

import copy
import inspect
from typing import Any

import diffusers
import pytest
import torch

import skipstone
from skipstone import TeaCache
from skipstone.testing.toys import Replaying
from support import tiny
from support.followed import followed
from support.toy import ToyModel, ToyPipeline, constant

NEVER = TeaCache(threshold=1e9)


def test_steps_carry_the_schedulers_times_and_sigmas() -> None:
    pipe = ToyPipeline(ToyModel())
    runs, taken = followed(pipe)
    assert not any(run.began for run in runs.open)
    pipe(constant(4))
    assert [step.index for step in taken] == [0, 1, 2, 3]
    assert [step.timestep for step in taken] == pipe.scheduler.timesteps.tolist()
    assert [step.sigma for step in taken] == pipe.scheduler.sigmas.tolist()[:4]
    assert [step.is_last for step in taken] == [False, False, False, True]
    assert not runs.open


@pytest.mark.parametrize("announced", [True, False], ids=["begin index set", "only the timestep tells"])
def test_image_to_image_counts_only_the_steps_it_executes(announced: bool) -> None:
    pipe = ToyPipeline(ToyModel())
    runs, taken = followed(pipe)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(10)
    if announced:
        scheduler.set_begin_index(7)
    for t in scheduler.timesteps[7:]:
        scheduler.step(torch.zeros(1), t, torch.zeros(1))
    assert [(step.index, step.count) for step in taken] == [(0, 3), (1, 3), (2, 3)]
    assert taken[-1].timestep == scheduler.timesteps[-1]
    assert not runs.open


def test_heun_counts_both_evaluations_of_a_step() -> None:
    pipe = ToyPipeline(ToyModel())
    pipe.scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    with skipstone.attach(pipe, NEVER) as cache:
        pipe(constant(7), steps=4)
    assert cache.last_run.strip == "#.....#"


def test_a_scheduler_put_in_after_attaching_is_followed() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, NEVER) as cache:
        pipe()
        old = pipe.pipe.scheduler
        pipe.pipe.scheduler = diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
        pipe(num_inference_steps=6)
        assert cache.last_run.strip == "#....#"
        assert type(old) is diffusers.FlowMatchEulerDiscreteScheduler
    assert type(pipe.pipe.scheduler) is diffusers.UniPCMultistepScheduler


def test_a_followed_scheduler_looks_like_itself() -> None:
    """Pipelines inspect its signature, save its class name, and make copies of it."""
    pipe = ToyPipeline(ToyModel())
    kind, bare = type(pipe.scheduler), set(vars(pipe.scheduler))
    signature = inspect.signature(pipe.scheduler.set_timesteps)
    runs, _ = followed(pipe)
    assert type(pipe.scheduler) is kind
    assert inspect.signature(pipe.scheduler.set_timesteps) == signature
    twin = copy.deepcopy(pipe.scheduler)
    runs.stop()
    assert set(vars(pipe.scheduler)) == bare
    assert kind.set_timesteps is Replaying.__dict__["set_timesteps"]
    twin.set_timesteps(3)
    assert not runs.open


def test_a_copy_drives_a_run_of_its_own() -> None:
    pipe = ToyPipeline(ToyModel())
    runs, _ = followed(pipe)
    pipe.scheduler.set_timesteps(5)
    twin = copy.deepcopy(pipe.scheduler)
    twin.set_timesteps(3)
    assert sorted(run.count for run in runs.open) == [3, 5]


@pytest.mark.parametrize("other", [{"height": 48}, {"guidance_scale": 9.0}], ids=["resized", "same size"])
def test_an_aborted_run_leaves_nothing_to_the_next(other: dict[str, Any]) -> None:
    """Broken off, then run again: the same as a fresh attach."""
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, NEVER):
        fresh = pipe()

    def abort(pipe: Any, index: int, *rest: Any) -> Any:
        if index == 2:
            raise KeyboardInterrupt
        return {}

    with skipstone.attach(pipe.pipe, NEVER) as cache:
        with pytest.raises(KeyboardInterrupt):
            pipe(**other, callback_on_step_end=abort)
        assert cache.last_run.steps == 3
        assert cache.last_run.planned_steps == 8
        assert torch.equal(pipe(), fresh)


def test_an_exception_inside_the_model_leaves_nothing_to_the_next() -> None:
    pipe = ToyPipeline(ToyModel())
    broken = constant(4)
    broken[2] = {**broken[2], "temb": torch.ones(7, 7)}
    with skipstone.attach(pipe, TeaCache(threshold=0.0)):
        with pytest.raises(RuntimeError):
            pipe(broken)
        assert len(pipe(constant(4))) == 4


def test_other_step_counts_in_turn() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, NEVER) as cache:
        strips = []
        for steps in (1, 6, 3, 6):
            pipe(num_inference_steps=steps)
            strips.append(cache.last_run.strip)
    assert strips == ["#", "#....#", "#.#", "#....#"]


def test_a_model_called_outside_a_run_is_plain() -> None:
    pipe = ToyPipeline(ToyModel())
    ones = torch.ones(1, 4, 2)
    with skipstone.attach(pipe, NEVER) as cache:
        assert torch.equal(pipe.transformer(ones, ones), 7 * ones)
        pipe(constant(3))
        assert torch.equal(pipe.transformer(ones, ones), 7 * ones)
    assert cache.last_run.evaluations == 3
