"""What a cache holds in memory, where, and for how long."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, PAB, FasterCache, Taylor, TeaCache, WithPredictor
from skipstone.cachers.contract.words import Step
from skipstone.pipelines.memory.snapshots import Snapshots
from skipstone.pipelines.memory.storage import Storage
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant


def run(pipe: tiny.Tiny, method: Any, **kwargs: Any) -> tuple[Tensor, skipstone.RunStats]:
    with skipstone.attach(pipe.pipe, method, **kwargs) as cache:
        return pipe(), cache.last_run


def test_bytes_held_follow_the_formula() -> None:
    """History x branches x streams x (batch x tokens x dim) elements of four bytes."""
    pipe = ToyPipeline(ToyModel(), branches=2)
    for method, history in (("fora", 1), ("fora+taylor", 2)):
        with torch.no_grad(), skipstone.attach(pipe, method, interval=2) as cache:
            pipe(constant(8, batch=3))
        assert cache.last_run.bytes_held == history * 2 * 1 * (3 * 4 * 2) * 4


def test_bytes_held_in_8_bits_are_one_for_an_element_and_four_for_each_128() -> None:
    pipe, inputs = ToyPipeline(ToyModel()), [{k: v.bfloat16() for k, v in one.items()} for one in big(4)]
    for form, expected in ((None, 2 * 3 * 128), ("fp8", 3 * 128 + 3 * 4), ("int8", 3 * 128 + 3 * 4)):
        with torch.no_grad(), skipstone.attach(pipe, "fora", snapshots=form) as cache:
            pipe(inputs)
        assert cache.last_run.bytes_held == expected


def big(steps: int) -> list[dict[str, Tensor]]:
    """Inputs of 3 x 128 elements."""
    return [{"hidden_states": torch.ones(1, 3, 128), "temb": torch.ones(1, 3, 128)} for _ in range(steps)]


@pytest.mark.parametrize("name", tiny.PIPELINES)
def test_residuals_kept_elsewhere_give_the_same_output(name: str) -> None:
    pipe = tiny.PIPELINES[name]()
    here, there = (run(pipe, "fora", interval=3, **where) for where in ({}, {"cache_device": "cpu"}))
    assert torch.equal(here[0], there[0])
    assert there[1].skipped > 0


def test_residuals_are_moved_to_where_they_are_to_be_kept() -> None:
    snapshots = Snapshots(1, Storage(torch.device("meta")))
    snapshots.push(Step(0, 2, 1.0), [{0: torch.ones(1, 4, 2)}])
    snapshots.convert()
    ((_, (residual,)),) = snapshots._kept
    assert residual[0].device.type == "meta"


EIGHT: dict[str, Any] = {
    "stack": WithPredictor(FORA(interval=3), Taylor(order=1)),
    "stack, by its output": TeaCache(threshold=1e9, rescale="none"),
    "layers": PAB(3, 3, 3, from_timestep=1e9, until_timestep=-1e9),
    "layers, half of the batch": FasterCache(interval=2, guidance_start=0.2),
}


@pytest.mark.parametrize("method", EIGHT)
@pytest.mark.parametrize("name", tiny.PIPELINES)
@pytest.mark.parametrize(("form", "error"), [("fp8", 0.07), ("int8", 0.02)])
def test_residuals_in_8_bits_take_little_memory_and_change_little(
    form: str, error: float, name: str, method: str
) -> None:
    pipe = tiny.PIPELINES[name]()
    plain, small = (run(pipe, EIGHT[method], snapshots=one) for one in (None, form))
    assert small[1].strip == plain[1].strip
    assert small[1].notes == plain[1].notes
    # A quarter, the scales, and what is kept of guidance, which stays in float32.
    assert small[1].bytes_held < 0.4 * plain[1].bytes_held
    # Neighbours in memory share a scale, and versions of torch lay a model's tensors out differently.
    assert 0 < (small[0] - plain[0]).norm() < error * plain[0].norm()


def test_8_bits_skip_a_compiled_model_alike() -> None:
    pipe = tiny.flux()
    eager, _ = run(pipe, EIGHT["stack"], snapshots="fp8")
    pipe.pipe.transformer.compile(backend="eager")
    compiled, stats = run(pipe, EIGHT["stack"], snapshots="fp8")
    torch.testing.assert_close(compiled, eager)
    assert stats.skipped > 0


def test_an_unknown_form_of_snapshots_is_refused() -> None:
    with pytest.raises(ValueError, match="snapshots must be one of fp8, int8, or None"):
        skipstone.attach(ToyPipeline(ToyModel()), "fora", snapshots="int4")


def test_an_unknown_device_is_refused_before_anything_is_changed() -> None:
    pipe = ToyPipeline(ToyModel())
    with pytest.raises(ValueError, match=r"no device 'nowhere' on this machine; it has: .*cpu"):
        skipstone.attach(pipe, "fora", cache_device="nowhere")
    with skipstone.attach(pipe, "fora"):
        pass


def test_everything_is_freed_when_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[Tensor]] = []
    push = Snapshots.push

    def watched(self: Snapshots, step: Any, residuals: Any) -> None:
        push(self, step, residuals)
        kept.extend(weakref.ref(t) for one in self._kept[0][1] for t in one.values())

    monkeypatch.setattr(Snapshots, "push", watched)
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, "fora", interval=2):
        pipe(constant(6))
        gc.collect()
        assert len(kept) == 3
        assert not any(reference() is not None for reference in kept)


def test_what_a_model_was_given_is_let_go_after_the_call() -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, "fora", interval=1):
        pipe.scheduler.set_timesteps(3)
        given = constant(1)[0]
        kept = weakref.ref(given["hidden_states"])
        pipe.transformer(**given)
        del given
        gc.collect()
        assert kept() is None
