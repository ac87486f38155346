"""Two processes: where they share a model they decide as one, where they do not each decides for itself."""

import functools
from dataclasses import replace

import diffusers
import pytest

import skipstone
import tiny
from methods import planned
from processes import (
    OneRankRefuses,
    OneRankRefusesOutputs,
    OneRankRefusesUnasked,
    OneRankRefusesUnseen,
    flux,
    reasons_of_a_shared_run,
    reasons_where_one_check_fails,
    run_twice,
    shared_runs,
    strip_of_an_own_run,
)
from skipstone import DBCache, FirstBlock, Planned, TeaCache

needs_context_parallel = pytest.mark.skipif(
    not hasattr(diffusers, "ContextParallelConfig"), reason="this diffusers has no context parallelism"
)


def guarded() -> Planned:
    """A plan whose guard is alarmed by every comparison: its record knows no change at all."""
    return replace(planned(8, 2), guard=1.5)


@needs_context_parallel
@pytest.mark.parametrize("attached_first", [False, True], ids=["shared first", "attached first"])
def test_a_shared_run_equals_that_of_one_process(attached_first: bool) -> None:
    methods = [FirstBlock(1e9), TeaCache(1e9), TeaCache(0.0), guarded()]
    alone = []
    for method in methods:
        with skipstone.attach((pipe := flux()).pipe, method):
            alone.append(pipe())
    for shared in run_twice(functools.partial(shared_runs, flux, methods, attached_first)):
        for output, expected in zip(shared, alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm()


@needs_context_parallel
def test_a_block_that_splits_its_input_runs_on_every_step_and_the_others_do_not() -> None:
    """Wan's first block takes the whole and returns a part, so First Block's head is the one after it."""
    alone = []
    for method in (TeaCache(0.0), DBCache(threshold=1e9, blocks=2, warmup=0)):
        with skipstone.attach((pipe := tiny.wan()).pipe, method):
            alone.append(pipe())
    methods = [TeaCache(0.0), FirstBlock(1e9)]
    for shared in run_twice(functools.partial(shared_runs, tiny.wan, methods, True)):
        for output, expected in zip(shared, alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm()


@needs_context_parallel
@pytest.mark.parametrize(
    "method",
    [OneRankRefuses(), OneRankRefusesOutputs(), OneRankRefusesUnseen(), OneRankRefusesUnasked()],
    ids=["stack", "output", "unseen", "attention"],
)
def test_one_process_that_computes_makes_all_compute(method: FirstBlock) -> None:
    """Without it the two would wait for each other in an attention that only one of them runs."""
    skips, computes = run_twice(functools.partial(reasons_of_a_shared_run, method))
    assert skips == {"first step": 2, "another process of the group computes": 14}
    assert computes == {"first step": 2, "the change reached the threshold": 14}


@needs_context_parallel
def test_one_process_whose_check_of_the_stack_fails_makes_all_leave_it() -> None:
    """Without it one would ask the other for a decision that is no longer made."""
    everywhere = {"the block stack is not understood": 16}
    assert run_twice(functools.partial(reasons_where_one_check_fails, FirstBlock(1e9))) == [everywhere] * 2


def test_processes_with_samples_of_their_own_decide_for_themselves() -> None:
    assert run_twice(strip_of_an_own_run) == ["#....", "#####"]
