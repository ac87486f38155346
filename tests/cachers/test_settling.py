"""Settling gaps in the runs of a toy whose outputs are a line in the step, whatever the latents are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skipstone import Cacher, Planned, Taylor, Warmup, WithPredictor
from skipstone.cachers.contract.words import Held, Reason, RunFacts, Solved, Step
from skipstone.cachers.settling import DriftSettling
from skipstone.schedules import settling
from skipstone.schedules.moments import moments_of
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import Profile, Quantity
from skipstone.schedules.recipe import Recipe

STRIP = "##...#..##..#"
LEVELS = np.linspace(1.0, 0.1, len(STRIP)).tolist()
REUSE = Recipe(anchors=1)
SHAPE = (1, 4, 8)


def line(batch: int = 1) -> list[Tensor]:
    """The output of each step."""
    start, slope = torch.linspace(-1, 2, 2 * 32 * batch, dtype=torch.float64).chunk(2)
    return [(start + n / 4 * slope).reshape(batch, *SHAPE[1:]) for n in range(len(STRIP))]


def plan_of(recipe: Recipe = REUSE) -> Plan:
    values = torch.stack(line()).reshape(len(STRIP), 1, -1).numpy()
    moments = moments_of(range(len(STRIP)), values)
    found = {Quantity("transformer", "branch 0", name): moments for name in ("residual", "output")}
    return Plan(Profile({}, tuple(LEVELS), found), recipe, STRIP)


def method_of(plan: Plan, levels: Sequence[float] = LEVELS) -> Cacher[Any]:
    count = len(levels)
    steps = (Step(n, count, time, None, 1 - time, time) for n, time in enumerate(levels))
    return Planned(plan).for_run(RunFacts(tuple(steps)))


NO_ECHO = np.zeros(len(STRIP))


def effects(step: int) -> Any:
    """How much of each output is in the latents after one of Euler's steps."""
    lengths = np.diff([*LEVELS, 0.0])
    return np.where(np.arange(len(STRIP)) <= step, lengths, 0.0)


def walk(
    outputs: list[Tensor], method: Cacher[Any] | None = None, reasons: dict[int, Any] | None = None
) -> list[Tensor]:
    """The latents after each step of Euler's method, where skipped steps reuse the newest output.

    Args:
        outputs: what the model would return on each step.
        method: is told of each step; None to compute all of them.
        reasons: those of some steps, by step; ``...`` for a step of which it is not told.
    """
    latents, seen, output = torch.zeros_like(outputs[0]), [], outputs[0]
    for n, (now, after) in enumerate(zip(LEVELS, [*LEVELS[1:], 0.0], strict=True)):
        planned = (Reason.PLANNED if n else Reason.FIRST_STEP) if STRIP[n] == "#" else None
        reason = (reasons or {}).get(n, planned)
        output = output if method is not None and reason is None else outputs[n]
        latents = latents + (after - now) * output
        if method is not None and reason is not ...:
            method.settle(
                Solved(Step(n, len(STRIP), now), reason, output, [Held(latents, effects(n))], NO_ECHO)
            )
        seen.append(latents)
    return seen


def unsettled(outputs: list[Tensor], **asked: Any) -> list[Tensor]:
    return walk(outputs, method_of(plan_of(replace(REUSE, settles=False))), **asked)


def settled(outputs: list[Tensor], **asked: Any) -> list[Tensor]:
    return walk(outputs, method_of(plan_of()), **asked)


def moves(outputs: list[Tensor], **asked: Any) -> dict[int, Tensor]:
    """By how much each step settles, by step."""
    pairs = zip(settled(outputs, **asked), unsettled(outputs, **asked), strict=True)
    apart = [one - other for one, other in pairs]
    found = {n: apart[n] - (apart[n - 1] if n else 0) for n in range(len(STRIP))}
    return {n: move for n, move in found.items() if not torch.allclose(move, torch.zeros_like(move))}


def test_undone_wholly_the_gaps_leave_no_trace() -> None:
    outputs = line()
    right, ours, others = walk(outputs), settled(outputs), unsettled(outputs)
    for n, mark in enumerate(STRIP):
        is_right = mark == "#"
        assert torch.allclose(ours[n], right[n], atol=1e-6) == is_right, n
    assert not torch.allclose(others[-1], right[-1], atol=0.1)


def test_each_gap_is_settled_once_and_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settling.SHARES, 1, 0.4)
    outputs = line()
    right, others = walk(outputs), unsettled(outputs)
    found, before = moves(outputs), torch.zeros_like(outputs[0])
    assert list(found) == [5, 8, 12]
    for step, move in found.items():
        missing = right[step] - others[step]
        assert torch.allclose(move, 0.4 * (missing - before), atol=1e-6)
        before = missing


def bent(by: float, step: int = 5) -> list[Tensor]:
    """The line, with another innovation on a step, so many times as large."""
    outputs = line()
    outputs[step] = outputs[1] + by * (outputs[step] - outputs[1])
    return outputs


def test_an_innovation_that_is_larger_than_expected_is_followed_less() -> None:
    """Of one three times as large a ninth is taken."""
    usual = moves(line())[5]
    for by, followed in ((0.5, 0.5), (1.0, 1.0), (3.0, 1 / 3)):
        assert torch.allclose(moves(bent(by))[5], followed * usual, rtol=1e-4), by


def test_each_sample_is_followed_by_its_own_share() -> None:
    calm, wild = line(), bent(3.0)
    both = moves([torch.cat(pair) for pair in zip(calm, wild, strict=True)])
    assert torch.allclose(both[5], torch.cat([moves(calm)[5], moves(wild)[5]]), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_innovation_at_all_moves_nothing(value: float) -> None:
    assert moves([torch.full(SHAPE, value)] * len(STRIP)) == {}


@pytest.mark.parametrize(
    ("at", "why", "settles"),
    [
        (5, Reason.CONDITION_CHANGED, [8, 12]),
        (3, Reason.CONDITION_CHANGED, [8, 12]),
        (3, ..., [8, 12]),
        (5, ..., [12]),
    ],
    ids=["planned, all of it", "in the gap, all of it", "in the gap, in part", "planned, in part"],
)
def test_a_step_computed_for_another_reason_settles_nothing(at: int, why: Any, settles: list[int]) -> None:
    """Estimates came from other steps than the plan says; one computed in part is no anchor afterwards."""
    assert list(moves(line(), reasons={at: why})) == settles


@pytest.mark.parametrize("at", [5, 3])
def test_with_two_anchors_neither_does_the_next_one(at: int) -> None:
    """For it one of the two is missing."""
    recipes = Recipe(), Recipe(settles=False)

    def same(**asked: Any) -> list[bool]:
        pair = (walk(line(), method_of(plan_of(recipe)), **asked) for recipe in recipes)
        return list(map(torch.equal, *pair))

    assert same()[5:9] == [False] * 4
    for why in (Reason.CONDITION_CHANGED, ...):
        assert same(reasons={at: why})[:9] == [True] * 9
        assert not same(reasons={at: why})[-1]


def test_outputs_that_are_overwritten_later_are_kept_as_they_were() -> None:
    """A graph writes each output into the same memory."""
    memory, outputs = torch.empty(SHAPE, dtype=torch.float64), line()

    class Overwriting(list[Tensor]):
        def __getitem__(self, at: Any) -> Any:
            return memory.copy_(outputs[at])

    assert torch.equal(settled(Overwriting(outputs))[-1], settled(outputs)[-1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_settled_as_float_is(dtype: torch.dtype) -> None:
    """Also where the outputs' squares are beyond it."""
    exact = [1000 * one for one in line()]
    halves = [one.to(dtype) for one in exact]
    found, right = settled(halves)[-1], settled(exact)[-1]
    assert found.dtype == dtype
    assert (found - right).norm() < 0.3 * (unsettled(halves)[-1] - right).norm()


def test_all_that_the_solver_goes_on_from_is_moved_by_its_own_share() -> None:
    method = method_of(plan_of())
    tensors = [[torch.zeros(SHAPE), torch.zeros(SHAPE, dtype=torch.bfloat16)] for _ in STRIP]
    for n, output in enumerate(line()):
        reason = (Reason.PLANNED if n else Reason.FIRST_STEP) if STRIP[n] == "#" else None
        held = [Held(one, by * effects(n)) for one, by in zip(tensors[n], (1.0, 10.0), strict=True)]
        method.settle(Solved(Step(n, len(STRIP), 0.0), reason, output, held, NO_ECHO))
    usual = moves(line())[5].float()
    assert torch.allclose(tensors[5][0], usual, rtol=1e-4)
    assert torch.allclose(tensors[5][1].float(), 10 * usual, rtol=0.02)


ANSWER = 0.5
"""By how much an output changes with its latents."""

SETTLES: dict[str, Callable[[], Callable[[Solved], None]]] = {
    "by a record": lambda: method_of(plan_of()).settle,
    "by drift": lambda: DriftSettling(1, 1.0, len(STRIP)).after,
}


@pytest.mark.parametrize("name", SETTLES)
def test_where_outputs_answer_to_the_latents_a_gap_is_undone_all_the_same(name: str) -> None:
    # Larger by 3, they drift by no more than is followed.
    settle, outputs = SETTLES[name](), [one + 3 for one in line()]
    right, latents, output = walk(outputs), torch.zeros_like(outputs[0]), outputs[0]
    for n, length in enumerate(np.diff([*LEVELS, 0.0])[:6]):
        echo = ANSWER * effects(n - 1)
        if STRIP[n] == "#":
            output = outputs[n] + ANSWER * (latents - right[n - 1] if n else 0)
        latents = latents + length * output
        held = [Held(latents, effects(n) + length * echo)]
        reason = Reason.PLANNED if STRIP[n] == "#" else None
        settle(Solved(Step(n, len(STRIP), 0.0), reason, output, held, echo))
    assert torch.allclose(latents, right[5], atol=1e-6)


def test_outputs_of_another_shape_are_not_compared() -> None:
    outputs = [torch.cat([one] * 2) if n > 3 else one for n, one in enumerate(line())]
    method, latents = method_of(plan_of()), [torch.zeros_like(one) for one in outputs]
    for n, output in enumerate(outputs):
        reason = Reason.PLANNED if STRIP[n] == "#" else None
        method.settle(
            Solved(Step(n, len(STRIP), 0.0), reason, output, [Held(latents[n], effects(n))], NO_ECHO)
        )
    assert [n for n, moved in enumerate(latents) if moved.any()] == [8, 12]


def test_without_levels_that_fall_nothing_is_settled() -> None:
    """Where the noise grows, or the levels are unknown, nobody knows which recorded steps these are."""
    plan = plan_of()
    shares = [1 - n / len(STRIP) for n in range(len(STRIP))]
    plan = replace(plan, record=replace(plan.record, levels=tuple(shares)))
    known, unknown = (walk(line(), method_of(plan, levels)) for levels in (shares, LEVELS[::-1]))
    assert not torch.equal(known[-1], unknown[-1])
    assert torch.equal(unknown[-1], unsettled(line())[-1])


def test_what_is_kept_counts_and_is_freed_with_the_run() -> None:
    method = method_of(plan_of(Recipe()))
    assert method.nbytes == 0
    walk(line(), method)
    assert method.nbytes == 2 * line()[0].nbytes
    method.end_run(lambda: None)
    assert method.nbytes == 0
    idle = method_of(plan_of(Recipe(settles=False)))
    walk(line(), idle)
    assert idle.nbytes == 0


def test_wrappers_pass_it_on_unless_they_estimate_by_themselves() -> None:
    method = method_of(plan_of())
    passing, estimating = Warmup(method, steps=1), WithPredictor(method_of(plan_of()), Taylor(1))
    assert torch.equal(walk(line(), passing)[-1], settled(line())[-1])
    assert passing.nbytes == method.nbytes > 0
    assert torch.equal(walk(line(), estimating)[-1], unsettled(line())[-1])
