"""Samplers of ComfyUI: which runs are recorded and planned, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.bench import FALLING, STEPS, Bench, said, tiny_model
from comfyui.stand_in_models import Epsilon
from comfyui.stand_in_samplers import (
    dpm_fast_function,
    sample_adaptive,
    sample_euler,
    sample_euler_ancestral,
)
from torch import Tensor

from skipstone.comfyui import NODE_CLASS_MAPPINGS


def test_noise_levels_that_rise_are_computed(bench: Bench) -> None:
    """As where a picture is turned into noise."""
    bench.sigmas = torch.linspace(0.01, 1, STEPS)
    wanted = bench.sample()
    patcher = bench.faster()
    for _ in range(2):
        assert torch.equal(bench.sample(patcher), wanted)
    assert "so nothing was recorded" in said(patcher)


def churning(by: float) -> Any:
    """Euler that adds noise before each step, and calls the model above the step's level."""

    def sample_churn(denoise: Any, x: Tensor, sigmas: Tensor, tell: Any) -> Tensor:
        for step in range(len(sigmas) - 1):
            above = sigmas[step] * (1 if step == len(sigmas) - 2 else 1 + by)
            slope = (x - denoise(x, above * x.new_ones(len(x)))) / above
            tell(step)
            x = x + slope * (sigmas[step + 1] - above)
        return x

    return sample_churn


def test_a_sampler_that_calls_just_above_its_levels_is_recorded_and_planned() -> None:
    bench = Bench(tiny_model(sampling=Epsilon()), sigmas=FALLING, sampler=churning(0.05))
    patcher, _ = bench.planned()
    assert "and recorded" in said(patcher)
    assert bench.calls(patcher) == STEPS // 2


def test_a_run_that_is_said_to_be_unrecorded_left_no_record(folder: Path) -> None:
    bench = Bench(tiny_model(sampling=Epsilon()), sigmas=FALLING, sampler=churning(0.3))
    patcher, _ = bench.planned()
    text = said(patcher)
    assert f"The model was called at {STEPS - 1} of the sampler's {STEPS} noise levels" in text
    assert "so nothing was recorded: all was computed in" in text
    assert "later runs" not in text
    assert not folder.exists()


def test_a_planned_run_that_leaves_levels_out_is_not_said_to_be_unrecorded(
    bench: Bench, tmp_path: Path
) -> None:
    patcher, _ = bench.planned()
    bench.sample(patcher)
    (plan,) = patcher.get_attachment("skipstone").remembered.tell(None).plans
    plan.save(tmp_path / "plan.json")
    path = str(tmp_path / "plan.json")
    (patcher,) = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"]().attach(bench.patcher, path)
    bench.sampler = lambda denoise, x, sigmas, tell: sample_euler(denoise, x, sigmas[:5], tell)
    bench.sample(patcher)
    text = said(patcher)
    assert f"The model was called at 4 of the sampler's {STEPS} noise levels: " in text
    assert "nothing was recorded" not in text


def test_new_noise_on_each_step_is_said(bench: Bench) -> None:
    bench.sampler = sample_euler_ancestral
    patcher, _ = bench.planned()
    assert "adds new noise on its steps" in said(patcher)
    bench.sampler = sample_euler
    bench.sample(patcher)
    assert "adds new noise" not in said(patcher)


def test_a_sampler_whose_noise_is_turned_off_is_not_said_to_add_any(bench: Bench) -> None:
    bench.sampler, bench.sampler_options = sample_euler_ancestral, {"eta": 0.0}
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, bench.sample(seed=0))
    assert "adds new noise" not in said(patcher)


@pytest.mark.parametrize("sampler", [sample_adaptive, dpm_fast_function])
def test_a_sampler_that_chooses_its_steps_is_computed_and_said(bench: Bench, sampler: Any) -> None:
    bench.sampler = sampler
    wanted = bench.sample()
    patcher = bench.faster()
    for _ in range(2):
        assert torch.equal(bench.sample(patcher), wanted)
        assert "the sampler chooses its own steps" in said(patcher)


def test_a_sampler_that_leaves_steps_out_is_not_recorded(bench: Bench) -> None:
    def sample_some(denoise: Any, x: Tensor, sigmas: Tensor, tell: Any) -> Tensor:
        return sample_euler(denoise, x, sigmas[:5], tell)

    bench.sampler = sample_some
    patcher = bench.faster()
    for _ in range(2):
        bench.sample(patcher)
        called = f"The model was called at 4 of the sampler's {STEPS} noise levels"
        assert f"{called}, so nothing was recorded" in said(patcher)
