"""What a computed step undoes of the gap before it."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import diffusers as d
import numpy as np
import pytest
import torch

import skipstone
from skipstone import FORA, WithSettling
from skipstone.pipelines.run.noise import latents_unit, levels, prediction
from skipstone.pipelines.run.samplers import uses_outputs_once
from skipstone.schedules.moments import Moments, moments_of
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import GUIDED, Profile, Quantity
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.settling import MOST_DRIFT, drift_settlement, settlement, solver_effects
from support.smooth import smooth
from support.solving import Solving
from support.tiny_pipelines import PIPELINES

STEPS = 10

SOLVERS: dict[str, Any] = {
    "flow-match Euler": d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "DDIM, epsilon": d.DDIMScheduler(clip_sample=False),
    "DDIM, v": d.DDIMScheduler(clip_sample=False, prediction_type="v_prediction"),
    "DDIM, sample": d.DDIMScheduler(clip_sample=False, prediction_type="sample"),
    "DDIM of CogVideoX": d.CogVideoXDDIMScheduler(clip_sample=False, prediction_type="v_prediction"),
    "Euler, epsilon": d.EulerDiscreteScheduler(timestep_spacing="trailing"),
    "Euler, v": d.EulerDiscreteScheduler(timestep_spacing="trailing", prediction_type="v_prediction"),
}


def taken_for_first_order() -> Iterator[str]:
    """All schedulers of diffusers whose steps are taken to be of first order, and whose noise falls."""
    for name in filter(lambda name: name.endswith("Scheduler"), dir(d)):
        try:
            scheduler = made(name)
            scheduler.set_timesteps(STEPS)
        except Exception:  # It needs further arguments, or a package that is not installed.
            continue
        takes_steps = hasattr(scheduler, "step") and uses_outputs_once(scheduler)
        times = flow_times(scheduler) if takes_steps else []
        if times and all(before > after for before, after in pairwise(times)):
            yield name


def made(name: str) -> Any:
    cls = getattr(d, name)
    clips = "clip_sample" in inspect.signature(cls.__init__).parameters
    return cls(**{"clip_sample": False} if clips else {})


class RestartEulerDiscreteScheduler(d.EulerDiscreteScheduler):
    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


class Renamed(d.EulerDiscreteScheduler):
    """With the step of its base."""


def exchanged(self: Any, *args: Any, **kwargs: Any) -> Any:
    return super(Exchanged, self).step(*args, **kwargs)


class Exchanged(d.EulerDiscreteScheduler):
    step = exchanged


def test_what_takes_a_step_counts_not_its_name() -> None:
    assert uses_outputs_once(Renamed())
    assert not uses_outputs_once(Exchanged())
    assert not uses_outputs_once(RestartEulerDiscreteScheduler())
    followed = Solving(Renamed())
    with skipstone.attach(followed, WithSettling(FORA(3))):
        assert uses_outputs_once(followed.scheduler)


def flow_times(scheduler: Any) -> list[float]:
    sigmas = getattr(scheduler, "sigmas", torch.empty(0)).tolist()
    found = levels(scheduler, scheduler.timesteps.tolist(), sigmas)
    return [noise / (signal + noise) for signal, noise in found if signal is not None and noise is not None]


def test_schedulers_of_first_order_are_found() -> None:
    usual = {"DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"}
    assert {*taken_for_first_order()} >= usual


@pytest.mark.parametrize("name", [*SOLVERS, *taken_for_first_order()])
def test_the_effects_are_those_of_the_solvers_own_steps(name: str) -> None:
    """Each step gets latents of 1 and an output of 0, and the reverse."""
    scheduler = SOLVERS[name] if name in SOLVERS else made(name)
    assert uses_outputs_once(scheduler)
    scheduler.set_timesteps(STEPS)
    times = flow_times(scheduler)
    kept, moved = solver_effects(times, prediction(scheduler))
    latents, output = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    for n, time in enumerate(scheduler.timesteps):
        after_it = scheduler.step(output, time, latents, return_dict=False)[0].tolist()
        after = latents_unit(scheduler, times[n + 1] if n + 1 < STEPS else 0.0)
        expected = after_it[0] * latents_unit(scheduler, times[n]) / after, after_it[1] / after
        assert (kept[n], moved[n]) == pytest.approx(expected, rel=2e-3, abs=2e-4), n


@pytest.mark.parametrize(
    "scheduler",
    [
        d.DDIMScheduler(),
        d.DDIMScheduler(clip_sample=False, thresholding=True),
        d.DPMSolverMultistepScheduler(),
        d.UniPCMultistepScheduler(),
        d.EulerAncestralDiscreteScheduler(),
        d.FlowMatchHeunDiscreteScheduler(),
        d.HeunDiscreteScheduler(),
    ],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_solvers_that_clip_or_use_outputs_again_are_none_of_first_order(scheduler: Any) -> None:
    assert not uses_outputs_once(scheduler)


def test_a_pipeline_that_mixes_latents_into_outputs_leaves_nothing_to_settle() -> None:
    """As Cosmos does, which says so in its scheduler's configuration."""
    scheduler = PIPELINES["cosmos2-image"].make().pipe.scheduler
    assert type(scheduler) is d.FlowMatchEulerDiscreteScheduler
    assert not uses_outputs_once(scheduler)


def rising() -> Moments:
    """Of outputs ``1 + step``."""
    values = 1.0 + np.arange(STEPS)
    return Moments(tuple(range(STEPS)), np.outer(values, values))


SHARE = 0.7


def reuse(step: int) -> list[float]:
    return [1.0]


def effects(kept: float, moved: float) -> Any:
    return np.full(STEPS, kept), np.full(STEPS, moved)


def test_a_gap_before_outputs_that_rise_in_a_line() -> None:
    """Step 2 is reused for 3, 4 and 5, which misses 1, 2 and 3; step 6 shows a difference of 4."""
    found = settlement(rising(), [2], 6, reuse, effects(1.0, -0.1), SHARE)
    assert found.weights == (1.0,)
    assert found.factor == pytest.approx(SHARE * -0.1 * (1 + 2 + 3) / 4)
    assert found.expected == pytest.approx(4**2 / 3**2)


def test_what_a_solver_shrinks_has_shrunk() -> None:
    """By half on each of the steps 4, 5 and 6."""
    found = settlement(rising(), [2], 6, reuse, effects(0.5, 1.0), SHARE)
    missing = (1 * 0.5 + 2) * 0.5 + 3
    assert found.factor == pytest.approx(SHARE * 0.5 * missing / 4)


def test_outputs_that_have_nothing_in_common_share_only_the_reused_one() -> None:
    """The difference of two unlike outputs has the size 2, of which the reused one is half."""
    unlike = Moments(tuple(range(STEPS)), np.eye(STEPS))
    found = settlement(unlike, [2], 6, reuse, effects(1.0, 1.0), SHARE)
    assert found.factor == pytest.approx(SHARE * 3 / 2)
    assert found.expected == pytest.approx(2.0)


def test_exact_estimates_leave_nothing_to_undo() -> None:
    """A line through two steps is the outputs."""
    found = settlement(rising(), [2, 1], 6, lambda at: [at - 1.0, 2.0 - at], effects(1.0, 1.0), SHARE)
    assert found.weights == (5.0, -4.0)
    assert found.expected == pytest.approx(0.0, abs=1e-9)
    assert abs(found.factor) <= SHARE * 3
    assert settlement(rising(), [2], 3, reuse, effects(1.0, 1.0), SHARE).factor == 0.0


def plan_of(strip: str, recipe: Recipe | None = None, **others: Any) -> Plan:
    moments = moments_of(range(len(strip)), smooth(len(strip)))
    found = {Quantity("transformer", "branch 0", name): moments for name in ("residual", "output")}
    found |= {Quantity("transformer", GUIDED, name): other for name, other in others.items()}
    times = tuple(np.linspace(1, 0.1, len(strip)))
    return Plan(Profile({}, times, found), recipe or Recipe(), strip)


STRIP = "##..#.##.."


def test_only_a_step_after_a_gap_settles() -> None:
    plan = plan_of(STRIP)
    computed = [step for step in range(STEPS) if STRIP[step] == "#"]
    found = {step: plan.settlement("transformer", step, "flow") for step in computed}
    assert [step for step, one in found.items() if one is not None] == [4, 6]
    assert plan.anchors("transformer", 4) == [1, 0]
    assert plan.anchors("transformer", 6) == [4, 1]
    assert found[4] is not None
    assert found[4].weights == tuple(plan.weights_for("transformer", 4, [1, 0]))


def test_a_recipe_may_leave_gaps_as_they_are() -> None:
    for recipe in (Recipe(settles=False), Recipe(settles=False).reusing):
        assert plan_of(STRIP, recipe).settlement("transformer", 4, "flow") is None


def test_a_recipe_that_weighs_stays_as_it_is_and_one_that_reuses_gets_the_usual() -> None:
    for recipe in (Recipe(), Recipe(settles=False)):
        assert recipe.weighing is recipe
    assert Recipe(power=1, settles=False).reusing.weighing == Recipe(power=1)


def test_without_recorded_outputs_nothing_is_settled() -> None:
    plan = plan_of(STRIP)
    alone = {key: part for key, part in plan.record.moments.items() if key.name == "residual"}
    without = replace(plan, record=replace(plan.record, moments=alone))
    assert without.settlement("transformer", 4, "flow") is None


def test_outputs_that_are_guided_on_a_part_of_the_steps_settle_that_part() -> None:
    """What the solver got on the others is not known."""
    plan = plan_of(STRIP, output=moments_of(range(1, 8), smooth(7)))
    found = [plan.settlement("transformer", step, "flow") is not None for step in (4, 6)]
    assert found == [False, True]


def test_steps_beyond_the_recorded_times_do_not_settle() -> None:
    """Twice as many steps come nearer to the end than the record, which says nothing of those."""
    times = [*np.linspace(1, 0.05, 2 * STEPS)]
    plan = plan_of(STRIP).for_levels(times)
    beyond = next(step for step in range(2 * STEPS) if step not in plan.weights["transformer"].steps)
    for strip in (plan.strip[: beyond - 1] + "." + plan.strip[beyond:], plan.strip):
        one = replace(plan, strip=strip)
        assert strip[beyond] == "#"
        assert one.settlement("transformer", beyond, "flow") is None


@pytest.mark.parametrize("prediction", ["flow", "epsilon", "v", "sample"])
def test_an_even_drift_is_settled_as_outputs_that_rise_in_a_line(prediction: Any) -> None:
    levels = np.linspace(0.95, 0.1, STEPS).tolist()
    recorded = settlement(rising(), [2], 6, reuse, solver_effects(levels, prediction), SHARE)
    drifted = drift_settlement(levels, prediction, 2, 6, SHARE)
    assert drifted.factor == pytest.approx(recorded.factor)
    assert drifted.weights == recorded.weights
    assert drifted.expected == MOST_DRIFT
