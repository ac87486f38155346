"""What a method must do by itself and, if it skips whole steps, on a toy model."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Site
from skipstone.pipelines.attach import attach
from skipstone.pipelines.run.stats import RunStats
from skipstone.testing.case import Case
from skipstone.testing.expect import expect, expect_equal
from skipstone.testing.toys import ToyModel, ToyPipeline, constant, drifting

STEPS = 20


def checks(case: Case) -> Iterator[Callable[[Case], None]]:
    """The checks that apply to a method."""
    yield every_branch_has_a_new_state
    if case.method.site is not Site.STACK:
        return
    if case.method.guidance is None:
        yield branches_do_not_mix
    if len(case.settings) > 1:
        yield permissive_settings_compute_no_more
    if not case.sees:
        yield static_decisions_do_not_depend_on_the_input
    if case.sees and len(case.settings) > 1:
        yield one_restless_sample_is_enough
    if case.sees_the_step:
        yield nan_is_computed


def every_branch_has_a_new_state(case: Case) -> None:
    """What one branch of one run learns is not known to another."""
    state = case.method.new_state()
    expect(state is None or state is not case.method.new_state(), "new_state gives the same object twice")


def branches_do_not_mix(case: Case) -> None:
    """Each guidance branch has a state and a memory of its own."""
    cond, uncond = drifting(6, 0.1), drifting(6, -0.15)
    both, _ = played(case.method, list(zip(cond, uncond, strict=True)), branches=2)
    for alone, branch in zip((cond, uncond), (both[0::2], both[1::2]), strict=True):
        for one, among_two in zip(played(case.method, alone)[0], branch, strict=True):
            expect_equal(among_two, one, "a branch gives another output where there is a second one")


def nan_is_computed(case: Case) -> None:
    """What is not finite is computed."""
    strip = played(case.settings[-1], nan_at(3))[1].strip
    expect(strip[3] == "#", f"step 3 of {strip} has an input that is not a number, and is skipped")


def static_decisions_do_not_depend_on_the_input(case: Case) -> None:
    """A method that looks at nothing computes the same steps whatever the model is given."""
    for method in case.settings:
        inputs = (constant(STEPS), drifting(STEPS, 0.5), constant(STEPS, float("nan")))
        strips = {played(method, given)[1].strip for given in inputs}
        expect(len(strips) == 1, f"the steps of {method.describe()} depend on the input: {strips}")


def permissive_settings_compute_no_more(case: Case) -> None:
    """On a steady drift each setting computes at most as many steps as the one before."""
    computed = [played(method, turning(STEPS, 0.03))[1].computed for method in case.settings]
    expect(computed == sorted(computed, reverse=True), f"from strict to permissive, {computed} are computed")
    expect(computed[0] > computed[-1], f"all settings compute {computed[0]} of {STEPS} steps")


def one_restless_sample_is_enough(case: Case) -> None:
    """Seven still samples of a batch do not hide an eighth that moves."""
    still, moving = constant(8, batch=7), turning(8, 0.8)
    mixed = [{k: torch.cat([a[k], b[k]]) for k in a} for a, b in zip(still, moving, strict=True)]
    alone = [played(method, moving)[1].strip for method in case.settings]
    together = [played(method, mixed)[1].strip for method in case.settings]
    calm = [played(method, constant(8))[1].strip for method in case.settings]
    expect(alone != calm, "an input that moves by 80% a step is treated like one that does not")
    for one, among in zip(alone, together, strict=True):
        # Not step by step: one at the very threshold may fall to either side.
        is_seen = among.count("#") >= one.count("#")
        expect(is_seen, f"a sample computes {one} alone, but {among} among seven that do not move")


def turning(steps: int, rate: float) -> list[dict[str, Tensor]]:
    """An input and a ``temb`` that grow by ``rate`` a step on average, and change their direction."""
    growth = rate * torch.tensor([0.5, 1.5]).expand(1, 4, 2)
    return [{"hidden_states": 1 + n * growth, "temb": 1 + n * growth} for n in range(steps)]


def nan_at(index: int) -> list[dict[str, Tensor]]:
    """The same input on every step, but one that is not a number."""
    inputs = constant(6)
    inputs[index] = {**inputs[index], "hidden_states": inputs[index]["hidden_states"] * float("nan")}
    return inputs


def played(method: Cacher[Any], inputs: Any, branches: int = 1) -> tuple[list[Tensor], RunStats]:
    """The outputs of a toy with a method attached, and the statistics."""
    pipe = ToyPipeline(ToyModel(), branches)
    with torch.no_grad(), attach(pipe, method) as cache:
        outputs = pipe(inputs)
    return outputs, cache.last_run
