"""What a method must do on a real pipeline."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from skipstone.pipelines.attach import attach
from skipstone.pipelines.model.models import models_of
from skipstone.testing.case import Case
from skipstone.testing.expect import expect, expect_equal
from skipstone.testing.short_run import ShortRun
from skipstone.testing.toys import ToyPipeline


def gate_off_is_exact(case: Case, run: ShortRun) -> None:
    """Where every step is computed, a run is what it is without the method, to the last bit."""
    uncached = run.uncached
    with attach(run.pipe, case.computing) as cache:
        expect_equal(run(), uncached, "with every step computed, the output is not the uncached one")
    stats = cache.last_run
    expect(stats.evaluations > 0, "the model was not called")
    expect(stats.skipped == 0, f"{case.computing.describe()} skips: {stats.strip}")


def only_what_it_must_is_computed(case: Case, run: ShortRun) -> None:
    """A permissive setting skips, from the first step on that its rules leave to it."""
    uncached = run.uncached
    with attach(run.pipe, case.method) as cache:
        skipping = run()
    strip = cache.last_run.strip
    expect_a_skip(strip)
    expect("#" in strip[:1], f"the first step of a run is not computed ({strip})")
    if case.first is not None:
        must, may = case.first + case.last, len(strip) - case.first - case.last
        expect(strip.count("#") == must, f"{must} steps must be computed, but it is {strip}")
        expect(strip.count(case.skipped) == may, f"{may} steps may be skipped, but it is {strip}")
    expect(bool(torch.isfinite(skipping).all()), "the output is not finite")
    expect(not torch.equal(skipping, uncached), "steps are skipped, but the output is the uncached one")


def a_second_run_equals_the_first(case: Case, run: ShortRun) -> None:
    """Nothing is remembered from one run to the next."""
    with attach(run.pipe, case.method) as cache:
        first, strip = run(), cache.last_run.strip
        second = run()
    again = cache.last_run.strip
    expect(again == strip, f"a second run computes other steps: {strip}, then {again}")
    expect_equal(second, first, "a second run gives another output")


def removal_leaves_nothing_behind(case: Case, run: ShortRun) -> None:
    """The pipeline is what it was before."""
    uncached, before = run.uncached, footprint(run.pipe)
    with attach(run.pipe, case.method):
        run()
    expect(footprint(run.pipe) == before, "something is left in the pipeline after removal")
    expect_equal(run(), uncached, "after removal, the output is not the uncached one")


def an_exception_leaves_nothing_behind(case: Case, run: ShortRun) -> None:
    """Also where a run was broken off."""
    uncached, before = run.uncached, footprint(run.pipe)

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    try:
        with attach(run.pipe, case.method):
            run(callback_on_step_end=fail)
    except KeyboardInterrupt:
        expect(footprint(run.pipe) == before, "something is left in the pipeline after an exception")
        expect_equal(run(), uncached, "after an exception, the output is not the uncached one")
        return
    raise AssertionError("an exception in a run did not come through")


def a_replayed_input_is_estimated_exactly(case: Case, run: ShortRun) -> None:
    """Where every step has the same input, what a skipped step estimates is what a computed one gives."""
    calls = [{**call, "return_dict": False} for call in calls_of_a_step(run)]
    toy = ToyPipeline(run.model, len(calls))
    with torch.no_grad(), attach(toy, case.method) as cache:
        outputs = [output[0] for output in toy([calls] * run.steps)]
    strip = cache.last_run.strip
    expect_a_skip(strip)
    for n, output in enumerate(outputs):
        first, mark = outputs[n % len(calls)], strip[n // len(calls)]
        far = ((output - first).norm() / first.norm()).item()
        expect(far <= 1e-6, f"an input that was seen before gives another output at a {mark!r} (by {far:g})")


CHECKS: tuple[Callable[[Case, ShortRun], None], ...] = (
    gate_off_is_exact,
    only_what_it_must_is_computed,
    a_second_run_equals_the_first,
    removal_leaves_nothing_behind,
)
"""For every pipeline that the method works on."""

REPEATS = (a_replayed_input_is_estimated_exactly,)
"""Where its estimates are exact for an input that does not change."""

ONCE = (an_exception_leaves_nothing_behind,)
"""For one pipeline that has ``callback_on_step_end``."""


def checks(case: Case) -> tuple[Callable[[Case, ShortRun], None], ...]:
    """The checks that apply to a method on every pipeline that it works on."""
    return (*CHECKS, *REPEATS) if case.repeats else CHECKS


def expect_a_skip(strip: str) -> None:
    """Fail where every step was computed: nothing was checked."""
    expect(set(strip) != {"#"}, f"nothing is skipped ({strip}): check it in a more permissive setting")


def calls_of_a_step(run: ShortRun) -> list[dict[str, Any]]:
    """The arguments of each call of the model in the first step of a run, by their names."""
    calls: list[dict[str, Any]] = []
    signature = inspect.signature(run.model.forward)
    hook = run.model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(signature.bind(*args, **kwargs).arguments), with_kwargs=True
    )
    run(num_inference_steps=2)
    hook.remove()
    return calls[: max(1, len(calls) // 2)]


def footprint(pipe: Any) -> Any:
    """All that attaching could leave behind in a pipeline."""
    models = models_of(pipe).values()
    modules = [
        (name, type(m), len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)))
        for model in models
        for name, m in model.named_modules()
    ]
    weights = [list(model.state_dict()) for model in models]
    return modules, weights, type(pipe.scheduler), sorted(vars(pipe.scheduler)), sorted(vars(pipe))
