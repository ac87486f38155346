"""How long anything lives: runs that stop, models that come and go, workflows in turn."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from comfyui.bench import STEPS, Bench, said, tiny_model
from comfyui.stand_in import ControlNet, Guider, InterruptedByUserError, condition
from comfyui.stand_in_models import context
from torch import Tensor

from skipstone.comfyui.run import SamplerRun
from skipstone.pipelines.evaluations.base import Branch


def stop_at(step: int) -> Callable[[int], None]:
    def stop(now: int) -> None:
        if now == step:
            raise InterruptedByUserError

    return stop


@pytest.fixture(autouse=True)
def _what_was_there_before() -> Iterator[None]:
    """Is not looked through for what lives."""
    gc.freeze()
    yield
    gc.unfreeze()


def living(kind: type[Any]) -> list[Any]:
    gc.collect()
    return [one for one in gc.get_objects() if type(one) is kind]


@pytest.mark.parametrize("speedup", [1.0, 2.0])
def test_nothing_is_kept_of_a_run(bench: Bench, speedup: float) -> None:
    patcher, _ = bench.planned(speedup)
    latents = bench.sample(patcher)
    assert not living(SamplerRun)
    assert not living(Branch)
    held = weakref.ref(latents)
    del latents
    gc.collect()
    assert held() is None


def test_an_interrupted_run_leaves_nothing_and_says_so(bench: Bench) -> None:
    patcher = bench.faster()
    with pytest.raises(InterruptedByUserError):
        bench.sample(patcher, callback=stop_at(5))
    assert "Interrupted in step 6 of 16: nothing was kept of this run." in said(patcher)
    assert not living(SamplerRun)
    assert bench.calls(patcher) == STEPS
    with pytest.raises(InterruptedByUserError):
        bench.sample(patcher, callback=stop_at(5))
    assert bench.calls(patcher) == STEPS // 2
    assert torch.equal(bench.sample(patcher), bench.sample(patcher))


def test_an_error_inside_a_prediction_leaves_the_conditions_as_they_were(bench: Bench) -> None:
    net, fails, conds = ControlNet(), [False], []

    def fail(guider: Guider, made: Tensor, *others: Any) -> Tensor:
        waits = guider.conds["positive"][0]["control"] is not net
        if fails[0] and waits:
            conds.extend(guider.conds["positive"])
            raise InterruptedByUserError
        return made

    bench.positive = [condition(context=context(1), control=net)]
    bench.options = {"sampler_post_cfg_function": [fail]}
    patcher, _ = bench.planned()
    fails[0] = True
    with pytest.raises(InterruptedByUserError):
        bench.sample(patcher)
    assert [one["control"] for one in conds] == [net]
    fails[0] = False
    # A condition with a ControlNet is not batched with one without.
    assert bench.calls(patcher) == 2 * STEPS // 2


def test_a_model_that_was_unloaded_and_loaded_again_is_the_same(bench: Bench) -> None:
    patcher, _ = bench.planned()
    wanted = bench.sample(patcher)
    bench.patcher.unload()
    assert torch.equal(bench.sample(patcher), wanted)
    assert "steps skipped" in said(patcher)


def test_a_model_that_was_read_again_has_the_same_record(bench: Bench) -> None:
    bench.sample(bench.faster())
    bench.patcher = tiny_model()
    assert bench.calls(bench.faster()) == STEPS // 2


def test_the_record_does_not_depend_on_the_adapter_that_was_loaded_before(bench: Bench) -> None:
    """An adapter is merged into the weights until another patcher is loaded."""
    bench.sample(bench.faster())
    fresh = Bench(tiny_model())
    fresh.sample(fresh.patcher.with_adapter(0.1))
    assert fresh.patcher.backup
    assert fresh.calls(fresh.faster()) == STEPS // 2


def test_each_strength_of_an_adapter_has_its_record(bench: Bench) -> None:
    plain = bench.faster()
    strong, weak = (bench.faster(patcher=bench.patcher.with_adapter(n)) for n in (0.2, 0.1))
    for patcher in (plain, strong, weak):
        assert bench.calls(patcher) == STEPS
    for patcher in (plain, weak, strong):
        assert bench.calls(patcher) == STEPS // 2
    assert bench.calls(bench.faster(patcher=bench.patcher.with_adapter(0.2))) == STEPS // 2


def test_an_adapter_after_the_node_is_recorded_for_itself(bench: Bench) -> None:
    patcher, _ = bench.planned()
    assert bench.calls(patcher.with_adapter(0.1)) == STEPS
    assert bench.calls(patcher) == STEPS // 2
    assert bench.calls(patcher.with_adapter(0.1)) == STEPS // 2


def test_two_workflows_in_turn_do_not_meet(bench: Bench) -> None:
    other = Bench(tiny_model(seed=1))
    alone = [[one.sample(one.faster()) for _ in range(2)] for one in (bench, other)]
    first, second = bench.faster(2.0), other.faster(2.0)
    for n in range(2):
        assert torch.equal(bench.sample(first), alone[0][1])
        assert torch.equal(other.sample(second), alone[1][1])
        assert n == 0 or said(first).count("steps skipped") == said(second).count("steps skipped") == 2


def test_a_run_inside_another_is_a_run_of_its_own(bench: Bench) -> None:
    """As a node that samples a preview of its own in the callback."""
    patcher, _ = bench.planned()
    wanted = bench.sample(patcher)

    def preview(step: int) -> None:
        if step == 4:
            assert torch.equal(bench.sample(patcher), wanted)

    assert torch.equal(bench.sample(patcher, callback=preview), wanted)


def test_a_run_without_steps_is_passed_on(bench: Bench) -> None:
    bench.sigmas = torch.ones(1)
    patcher = bench.faster()
    assert torch.equal(bench.sample(patcher), bench.sample())
    assert said(patcher).startswith("No run yet")
