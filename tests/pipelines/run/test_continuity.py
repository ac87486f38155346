"""What a callback changes between steps is not taken for a gap's errors."""

from collections.abc import Callable
from typing import Any

import diffusers as d
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, Cacher, StepMask, WithSettling
from skipstone.pipelines.run.continuity import Continuity
from skipstone.pipelines.run.pipeline_calls import PipelineCall
from support.solving import STEPS, Solving
from support.tiny_pipelines import PIPELINES, modular

FLOW = d.FlowMatchEulerDiscreteScheduler
MASK = StepMask(FORA(1000), "#..#..#..#")
GAPS = (3, 6, 9)
"""The steps that close its gaps."""

Change = Callable[[Any, int, Tensor], Tensor]
"""``change(pipe, step, latents)``: the latents after a step."""


class Calling(Solving):
    """Guides with a scale, and calls back after each step."""

    def __init__(self, change: Change) -> None:
        super().__init__(FLOW(shift=2.0))
        self.change = change

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        self.seen, self._guidance_scale = list[Tensor](), 3.0
        return super().__call__(*args, **kwargs)

    def solve(self, output: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        latents = super().solve(self._guidance_scale * output, time, latents)
        self.seen.append(latents.clone())
        return self.change(self, len(self.seen) - 1, latents)


def settled_at(change: Change, method: Cacher[Any] = MASK) -> list[int]:
    """After which steps settling has moved the latents."""
    pipe, seen = Calling(change), []
    for one in (method, WithSettling(method)):
        with skipstone.attach(pipe, one):
            pipe()
        seen.append(pipe.seen)
    apart = [ours - others for ours, others in zip(*seen, strict=True)]
    moves = [now - before for now, before in zip(apart, [0 * apart[0], *apart], strict=False)]
    return [n for n, move in enumerate(moves) if move.norm() > 1e-4]


def at(step: int, change: Change) -> Change:
    return lambda pipe, n, latents: change(pipe, n, latents) if n == step else latents


def stronger(pipe: Any, n: int, latents: Tensor) -> Tensor:
    pipe._guidance_scale += 2.0
    return latents


def other(pipe: Any, n: int, latents: Tensor) -> Tensor:
    return latents + 0.5


def written(pipe: Any, n: int, latents: Tensor) -> Tensor:
    return latents.add_(0.5)


def never(pipe: Any, n: int, latents: Tensor) -> Tensor:
    return latents


CHANGES: dict[str, Change] = {"guidance": stronger, "other latents": other, "latents in place": written}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("after", "closed"),
    [(3, [3, 9]), (4, [3, 9]), (5, [3]), (6, [3, 6])],
    ids=["before the gap", "in the gap", "before the step that closes it", "before the next gap"],
)
def test_a_change_between_two_steps_leaves_its_gap_as_it_is(name: str, after: int, closed: list[int]) -> None:
    """The step that closes the gap, where it comes right after the change, begins no gap, either."""
    assert settled_at(never) == list(GAPS)
    assert settled_at(at(after, CHANGES[name])) == closed


def test_guidance_that_changes_on_each_step_settles_nothing_and_the_run_says_so() -> None:
    assert settled_at(stronger) == []
    with skipstone.attach(pipe := Calling(stronger), WithSettling(MASK)) as cache:
        pipe()
    assert "settling did nothing" in str(cache.last_run)


@pytest.mark.parametrize("change", [other, written])
def test_latents_that_are_changed_on_each_step_are_settled(change: Change) -> None:
    """As for inpainting."""
    assert settled_at(change) == list(GAPS)


def test_inpainting_is_settled() -> None:
    case, found = PIPELINES["flux-inpaint"].make(), []
    case.kwargs["num_inference_steps"] = STEPS
    for method in (FORA(3), WithSettling(FORA(3))):
        with skipstone.attach(case.pipe, method):
            found.append(case())
    assert not torch.equal(*found)


def test_latents_that_count_no_writes_go_on() -> None:
    with torch.inference_mode():
        one, other = Continuity(), torch.ones(1)
        one.leave(other)
        assert one.goes_on({}, other)
        one.leave(other)
        assert not one.goes_on({}, torch.ones(1))


def test_strengths_are_those_of_the_pipeline() -> None:
    case = PIPELINES["wan"].make()
    case.pipe._guidance_scale = 4.0
    case.pipe.guider = None
    assert PipelineCall(case.pipe).strengths[" _guidance_scale"] == 4.0


@pytest.mark.skipif("wan-modular" not in PIPELINES, reason="this diffusers has no modular pipeline of Wan")
def test_strengths_are_also_those_of_its_guider() -> None:
    pipe = modular.wan(d.ClassifierFreeGuidance(2.0)).pipe
    assert PipelineCall(pipe).strengths["guider guidance_scale"] == 2.0
