"""What every method must do, on toys and on tiny pipelines of real classes."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import skipstone
from support import tiny
from support.methods import METHODS, ON_STACKS, UNETS, Case
from support.tiny_pipelines import PIPELINES
from support.toy import ToyModel, ToyPipeline, constant, drifting

every_method = pytest.mark.parametrize("case", METHODS, ids=lambda case: case.name)
on_toys = pytest.mark.parametrize("case", ON_STACKS, ids=lambda case: case.name)
looking = pytest.mark.parametrize("case", [c for c in ON_STACKS if c.looks], ids=lambda case: case.name)
sudden = pytest.mark.parametrize(
    "case", [c for c in ON_STACKS if c.looks and c.at_once], ids=lambda c: c.name
)
static = pytest.mark.parametrize("case", [c for c in ON_STACKS if not c.looks], ids=lambda case: case.name)
everywhere = pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case, name, id=f"{name}-{case.name}") for case in METHODS for name in case.pipelines],
)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, tuple[tiny.Tiny, torch.Tensor]]:
    """Each tiny pipeline with its uncached latents."""
    unets = {name: PIPELINES[name].make for name in UNETS}
    made = {name: make() for name, make in {**tiny.PIPELINES, **unets}.items()}
    return {name: (pipe, pipe()) for name, pipe in made.items()}


def test_every_method_is_in_the_shared_list() -> None:
    assert {case.name for case in METHODS} == set(skipstone.METHODS)


@everywhere
def test_gate_off_is_bit_exact(case: Case, name: str, pipelines: Any) -> None:
    pipe, bare = pipelines[name]
    with skipstone.attach(pipe.pipe, case.off) as cache:
        assert torch.equal(pipe(), bare)
    assert cache.last_run.evaluations > 0
    assert cache.last_run.skipped == 0


@everywhere
def test_lenient_gate_computes_only_what_it_must(case: Case, name: str, pipelines: Any) -> None:
    pipe, bare = pipelines[name]
    with skipstone.attach(pipe.pipe, case.lenient) as cache:
        skipping = pipe()
    run = cache.last_run
    assert run.strip.count("#") == case.always
    assert run.strip.count(case.skipped) == run.steps - case.always
    assert torch.isfinite(skipping).all()
    assert not torch.equal(skipping, bare)


@everywhere
def test_second_run_equals_the_first(case: Case, name: str, pipelines: Any) -> None:
    pipe, _ = pipelines[name]
    with skipstone.attach(pipe.pipe, case.lenient) as cache:
        first, strip = pipe(), cache.last_run.strip
        second = pipe()
    assert torch.equal(first, second)
    assert cache.last_run.strip == strip


@everywhere
def test_removal_leaves_nothing_behind(case: Case, name: str, pipelines: Any) -> None:
    pipe, bare = pipelines[name]
    before = footprint(pipe.pipe)
    cache = skipstone.attach(pipe.pipe, case.lenient)
    pipe()
    cache.remove()
    assert footprint(pipe.pipe) == before
    assert torch.equal(pipe(), bare)


@every_method
def test_removal_after_an_exception(case: Case, pipelines: Any) -> None:
    pipe, bare = pipelines[case.pipelines[0]]
    before = footprint(pipe.pipe)

    def fail(pipe: Any, index: int, *rest: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), skipstone.attach(pipe.pipe, case.lenient):
        pipe(callback_on_step_end=fail)
    assert footprint(pipe.pipe) == before
    assert torch.equal(pipe(), bare)


@everywhere
def test_replaying_an_input_while_skipping_equals_computing(case: Case, name: str, pipelines: Any) -> None:
    pipe, _ = pipelines[name]
    calls = recorded_calls(pipe)
    toy = ToyPipeline(model_of(pipe.pipe))
    with torch.no_grad(), skipstone.attach(toy, case.lenient) as cache:
        outputs = toy([{**calls[0], "return_dict": False}] * 4, steps=pipe.kwargs["num_inference_steps"])
    assert cache.last_run.strip == "#" * case.first + case.skipped * (4 - case.first)
    computed, *skipped = (output[0] for output in outputs)
    for output in skipped:
        assert (output - computed).norm() <= 1e-6 * computed.norm()


@on_toys
def test_branches_do_not_mix(case: Case) -> None:
    cond, uncond = drifting(6, 0.1), drifting(6, -0.15)
    alone = [run_toy(case.lenient, inputs) for inputs in (cond, uncond)]
    both = run_toy(case.lenient, list(zip(cond, uncond, strict=True)), branches=2)
    for one, interleaved in zip(alone, (both[0::2], both[1::2]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, interleaved, strict=True))


@sudden
def test_nan_computes_and_says_so(case: Case) -> None:
    inputs = constant(6)
    inputs[3] = {**inputs[3], "hidden_states": inputs[3]["hidden_states"] * float("nan")}
    pipe = ToyPipeline(ToyModel())
    with skipstone.attach(pipe, case.series[-1]) as cache:
        pipe(inputs)
    assert cache.last_run.strip[3] == "#"
    assert "the probe is not finite" in cache.last_run.reasons


@static
def test_static_decisions_do_not_depend_on_the_input(case: Case) -> None:
    for method in case.series:
        strips = []
        for inputs in (constant(20), drifting(20, 0.5), constant(20, float("nan"))):
            pipe = ToyPipeline(ToyModel())
            with skipstone.attach(pipe, method) as cache:
                pipe(inputs)
            strips.append(cache.last_run.strip)
        assert strips == strips[:1] * 3


@on_toys
def test_more_permissive_never_computes_more_on_a_steady_drift(case: Case) -> None:
    computed = []
    for cacher in case.series:
        pipe = ToyPipeline(ToyModel())
        with skipstone.attach(pipe, cacher) as cache:
            pipe(drifting(20, 0.03))
        computed.append(cache.last_run.computed)
    assert computed == sorted(computed, reverse=True)
    assert computed[0] > computed[-1]


@looking
def test_one_restless_sample_is_enough_to_compute(case: Case) -> None:
    """Seven still samples do not hide an eighth that moves."""
    still, moving = constant(8, batch=7), drifting(8, 0.8)
    mixed = [{k: torch.cat([a[k], b[k]]) for k in a} for a, b in zip(still, moving, strict=True)]
    strict = case.series[2]
    alone, together = ToyPipeline(ToyModel()), ToyPipeline(ToyModel())
    with skipstone.attach(alone, strict) as cache:
        alone(moving)
    with skipstone.attach(together, strict) as cache_of_all:
        together(mixed)
    strips = cache.last_run.strip, cache_of_all.last_run.strip
    assert strips[0].count("#") > case.always
    assert all(mixed == "#" for alone, mixed in zip(*strips, strict=True) if alone == "#")


def run_toy(cacher: Any, inputs: Any, branches: int = 1) -> list[torch.Tensor]:
    pipe = ToyPipeline(ToyModel(), branches)
    with torch.no_grad(), skipstone.attach(pipe, cacher):
        return pipe(inputs)


def recorded_calls(pipe: tiny.Tiny) -> list[dict[str, Any]]:
    """The arguments of the model's calls in one run, by their names."""
    calls: list[dict[str, Any]] = []
    model = model_of(pipe.pipe)
    signature = inspect.signature(model.forward)
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(signature.bind(*args, **kwargs).arguments), with_kwargs=True
    )
    pipe(num_inference_steps=2)
    hook.remove()
    return calls


def model_of(pipe: Any) -> Any:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def footprint(pipe: Any) -> Any:
    """All that attaching could leave behind in a pipeline."""
    modules = [
        (
            name,
            type(module),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            sorted(module.__dict__),
        )
        for name, module in model_of(pipe).named_modules()
    ]
    scheduler = SimpleNamespace(kind=type(pipe.scheduler), keys=sorted(pipe.scheduler.__dict__))
    return modules, list(model_of(pipe).state_dict()), scheduler, sorted(pipe.__dict__)
