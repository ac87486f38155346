"""Settling in ComfyUI: which runs settle, and where a settled prediction leads."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from comfyui.bench import FALLING, STEPS, Bench, tiny_model
from comfyui.stand_in_models import Epsilon, Flow, Velocity
from comfyui.stand_in_samplers import sample_euler, sample_heun, sample_two_step
from torch import Tensor

import skipstone
from skipstone.cachers.contract.words import RunFacts, Solved
from skipstone.comfyui.sampler_cache import SamplerCache
from skipstone.comfyui.settling import effects


@dataclass(frozen=True)
class Moving(skipstone.FORA):
    """Moves the latents after one step, and remembers what it was told."""

    at: int = STEPS
    told: list[Solved] = field(default_factory=list, compare=False)

    @property
    def settles(self) -> bool:
        return True

    def settle(self, solved: Solved) -> None:
        self.told.append(solved)
        if solved.step.index == self.at:
            solved.held[0].tensor.add_(1.0)

    def for_run(self, run: RunFacts) -> "Moving":
        return self


def sampled(bench: Bench, method: Any) -> Tensor:
    made = bench.patcher.clone()
    SamplerCache(lambda run: method.for_run(run)).attach(made)
    return bench.sample(made)


def flow() -> Bench:
    return Bench(tiny_model(sampling=Flow()))


def epsilon() -> Bench:
    return Bench(tiny_model(sampling=Epsilon()), sigmas=FALLING)


@pytest.mark.parametrize("bench", [flow(), epsilon()], ids=["flow", "epsilon"])
def test_a_move_after_the_last_step_is_in_what_the_sampler_gives(bench: Bench) -> None:
    moved = sampled(bench, Moving(1, at=STEPS - 1))
    torch.testing.assert_close(moved, bench.sample() + 1.0)


@pytest.mark.parametrize("bench", [flow(), epsilon()], ids=["flow", "epsilon"])
def test_a_move_between_is_what_the_next_step_begins_with(bench: Bench) -> None:
    began: list[Tensor] = []

    def watched(denoise: Any, x: Tensor, sigmas: Tensor, tell: Any) -> Tensor:
        def seen(x: Tensor, sigma: Tensor) -> Tensor:
            began.append(x)
            return denoise(x, sigma)

        return sample_euler(seen, x, sigmas, tell)

    watched.__name__ = "sample_euler"
    bench.sampler = watched
    at, moving = 5, Moving(1, at=5)
    sampled(bench, moving)
    sampled(bench, Moving(1))
    moved, usual = began[at + 1], began[STEPS + at + 1]
    torch.testing.assert_close(moved - usual, torch.ones_like(usual))


def velocity() -> Bench:
    return Bench(tiny_model(sampling=Velocity()), sigmas=FALLING)


@pytest.mark.parametrize(("bench", "output"), [(flow(), "flow"), (epsilon(), "epsilon"), (velocity(), "v")])
def test_the_effects_are_those_of_the_samplers_own_steps(bench: Bench, output: Any) -> None:
    """One output that is larger by one shows in the latents; the last step's output answers to these."""
    sigmas, levels = bench.sigmas, bench.patcher.get_model_object("model_sampling")
    last = float(sigmas[-2])
    answer = last / (1 + last**2) if output == "epsilon" else 0.0

    def sampled_with(larger: int) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            echo = answer * x if float(sigma) == last else torch.zeros_like(x)
            made: Tensor = levels.calculate_denoised(sigma, echo + float(sigma == sigmas[larger]), x)
            return made

        return sample_euler(denoise, torch.zeros(1, 1, dtype=torch.float64), sigmas, lambda step: None)

    echo, found = list(effects(sigmas.tolist(), levels, output))[-1]
    assert found == pytest.approx([float(sampled_with(n)) for n in range(STEPS)], rel=1e-4)
    assert bool(echo.any()) == (output == "epsilon")


def test_what_a_method_holds_is_told() -> None:
    class Holding(Moving):
        nbytes = 10**9

    bench = flow()
    held = []
    for method in (Moving(2), Holding(2)):
        made = bench.patcher.clone()
        cache = SamplerCache(lambda run, method=method: method)  # type: ignore[misc]
        cache.attach(made)
        bench.sample(made)
        held.append(cache.remembered.tell(None).runs[-1].stats.bytes_held)
    assert held[1] == held[0] + 10**9


def test_the_method_is_told_what_the_model_gave_after_guidance() -> None:
    bench = flow()
    method = Moving(2)
    sampled(bench, method)
    assert [solved.step.index for solved in method.told] == list(range(STEPS))
    assert [solved.reason is None for solved in method.told] == [n % 2 == 1 for n in range(STEPS)]


@pytest.mark.parametrize("sampler", [sample_heun, sample_two_step])
def test_samplers_of_higher_order_do_not_settle(sampler: Any) -> None:
    bench = flow()
    bench.sampler = sampler
    method = Moving(1, at=5)
    assert torch.equal(sampled(bench, method), bench.sample())
    assert not method.told


def test_a_sampler_that_adds_noise_before_its_steps_does_not_settle() -> None:
    bench = flow()

    def sample(denoise: Any, x: Tensor, sigmas: Tensor, tell: Any, s_churn: float) -> Tensor:
        return sample_euler(denoise, x, sigmas, tell)

    sample.__name__ = "sample_euler"
    bench.sampler, bench.sampler_options = sample, {"s_churn": 1.0}
    method = Moving(1, at=5)
    sampled(bench, method)
    assert not method.told


def test_noise_levels_that_do_not_fall_on_each_step_do_not_settle() -> None:
    bench = flow()
    bench.sigmas[4] = bench.sigmas[3]
    method = Moving(1, at=3)
    assert torch.equal(sampled(bench, method), bench.sample())
    assert not method.told


def test_a_prediction_at_another_level_than_its_steps_is_not_settled() -> None:
    """As in somebody's own sampler of the same name."""
    bench = flow()

    def sample(denoise: Any, x: Tensor, sigmas: Tensor, tell: Any) -> Tensor:
        return sample_euler(lambda x, sigma: denoise(x, 1.01 * sigma), x, sigmas, tell)

    sample.__name__ = "sample_euler"
    bench.sampler = sample
    method = Moving(1)
    sampled(bench, method)
    assert not method.told
