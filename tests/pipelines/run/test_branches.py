"""Which branch an evaluation belongs to, in every way that pipelines lay out guidance."""

from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import TeaCache
from support.toy import ToyModel, ToyPipeline, drifting

NEVER = TeaCache(threshold=1e9)
COND, UNCOND = torch.ones(1, 3), torch.zeros(1, 3)


class Prompted(ToyModel):
    """Takes a prompt, as all text-to-image models do, and ignores it."""

    def forward(self, hidden_states: Tensor, temb: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states, temb)


def run(steps: list[list[tuple[Tensor, Tensor]]]) -> tuple[list[list[Tensor]], Any]:
    """The outputs of each step; a step is the prompt and the scale of the input of each evaluation."""
    pipe = ToyPipeline(Prompted())
    outputs = []
    with torch.no_grad(), skipstone.attach(pipe, NEVER) as cache:
        pipe.scheduler.set_timesteps(len(steps) + 1)
        for t, evaluations in zip(pipe.scheduler.timesteps, steps, strict=False):
            outputs.append([pipe.transformer(**one, encoder_hidden_states=p) for p, one in evaluations])
            pipe.scheduler.step(torch.zeros(1), t, torch.zeros(1))
    return outputs, cache.last_run


CALM, WILD = drifting(1)[0], {name: 5 * tensor for name, tensor in drifting(1)[0].items()}


@pytest.mark.parametrize("first", ["cond", "uncond"])
def test_guidance_switched_off_in_mid_run_leaves_the_right_branch(first: str) -> None:
    both = [(COND, CALM), (UNCOND, WILD)]
    both = both if first == "cond" else both[::-1]
    outputs, stats = run([both, both, [(COND, CALM)], [(COND, CALM)]])
    computed = outputs[0][0 if first == "cond" else 1]
    assert stats.strip == "#..."
    assert torch.equal(outputs[2][0], computed)
    assert torch.equal(outputs[3][0], computed)


def test_a_prompt_that_is_used_twice_in_a_step_makes_two_branches() -> None:
    """A perturbed pass (as in skip-layer guidance) has the conditional prompt, but is not that branch."""
    step = [(COND, CALM), (UNCOND, WILD), (COND, WILD)]
    outputs, stats = run([step, step, step])
    assert len(stats.branches) == 3
    for later in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(later, outputs[0], strict=True))


def test_guidance_switched_on_in_mid_run_does_not_take_the_other_branch() -> None:
    alone, both = [(COND, CALM)], [(UNCOND, WILD), (COND, CALM)]
    outputs, stats = run([alone, alone, both, both])
    assert stats.strip == "#.+."
    for uncond, cond in outputs[2:]:
        assert torch.equal(cond, outputs[0][0])
        assert torch.equal(uncond, 7 * WILD["hidden_states"])


def test_guidance_switched_on_after_one_step_does_not_take_the_other_branch() -> None:
    """The conditional prompt was used only once by then, and the unconditional one is called before it."""
    outputs, stats = run([[(COND, CALM)], *[[(UNCOND, WILD), (COND, CALM)]] * 3])
    assert stats.strip == "#+.."
    for uncond, cond in outputs[1:]:
        assert torch.equal(cond, outputs[0][0])
        assert torch.equal(uncond, 7 * WILD["hidden_states"])


def test_a_perturbed_pass_in_place_of_the_unconditional_one_is_its_own_branch() -> None:
    """Guidance stops, the perturbed pass goes on: both are the second evaluation of their steps."""
    perturbed = {name: 9 * tensor for name, tensor in CALM.items()}
    step, late = [(COND, CALM), (UNCOND, WILD)], [(COND, CALM), (COND, perturbed)]
    outputs, stats = run([step, step, late, late])
    assert stats.strip == "#.+."
    assert torch.equal(outputs[3][1], outputs[2][1])
    assert not torch.equal(outputs[2][1], outputs[0][1])


def test_prompts_made_anew_for_each_call_are_told_by_their_order() -> None:
    def step() -> list[tuple[Tensor, Tensor]]:
        return [(COND.clone(), CALM), (UNCOND.clone(), WILD)]

    outputs, stats = run([step(), step(), step()])
    assert stats.strip == "#.."
    for later in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(later, outputs[0], strict=True))
