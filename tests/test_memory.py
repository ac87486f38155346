"""What a cache holds in memory, where, and for how long."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
import tiny
from skipstone.cachers.base import Step
from skipstone.pipelines.snapshots import Snapshots
from toy import ToyModel, ToyPipeline, constant


def run(pipe: tiny.Tiny, method: str, **kwargs: Any) -> tuple[Tensor, skipstone.RunStats]:
    with skipstone.attach(pipe.pipe, method, **kwargs) as cache:
        return pipe(), cache.last_run


def test_bytes_held_follow_the_formula() -> None:
    """History x branches x streams x (batch x tokens x dim) elements of four bytes."""
    pipe = ToyPipeline(ToyModel(), branches=2)
    for method, history in (("fora", 1), ("fora+taylor", 2)):
        with torch.no_grad(), skipstone.attach(pipe, method, interval=2) as cache:
            pipe(constant(8, batch=3))
        assert cache.last_run.bytes_held == history * 2 * 1 * (3 * 4 * 2) * 4


@pytest.mark.parametrize("name", tiny.PIPELINES)
def test_residuals_kept_elsewhere_give_the_same_output(name: str) -> None:
    pipe = tiny.PIPELINES[name]()
    here, there = (run(pipe, "fora", interval=3, **where) for where in ({}, {"cache_device": "cpu"}))
    assert torch.equal(here[0], there[0])
    assert there[1].skipped > 0


def test_residuals_are_moved_to_where_they_are_to_be_kept() -> None:
    snapshots = Snapshots(1, torch.device("meta"))
    snapshots.push(Step(0, 2, 1.0), [{0: torch.ones(1, 4, 2)}])
    ((_, (residual,)),) = snapshots._kept
    assert residual[0].device.type == "meta"


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
