"""A cache on real pipelines of every family: exact when off, skipping as laid out, gone when removed."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import Cacher, FirstBlock, TeaCache
from skipstone.pipelines.model.class_swap import give_subclass
from skipstone.pipelines.model.models import MODELS
from support.tiny import Tiny
from support.tiny_pipelines import PIPELINES
from support.zoo import drawn, tensors

OFF = TeaCache(threshold=0.0)
LENIENT = FirstBlock(threshold=1e9)
LENIENT_OUTPUT = TeaCache(threshold=1e9)
"""For UNets, which have no first block; it computes a run's last step too."""

every_pipeline = pytest.mark.parametrize("name", PIPELINES)


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Tiny]:
    """Pipelines that were built so far; a test leaves them as they were."""
    return {}


@pytest.fixture
def pipe(name: str, pipelines: dict[str, Tiny]) -> Tiny:
    return pipelines.setdefault(name, PIPELINES[name].make())


@every_pipeline
def test_gate_off_and_removal_are_bit_exact(name: str, pipe: Tiny) -> None:
    bare = latents(pipe)
    with skipstone.attach(pipe.pipe, OFF) as cache:
        assert torch.equal(latents(pipe), bare)
    run = cache.last_run
    assert run.branches == {
        branch: {"computed": count, "skipped": 0} for branch, count in PIPELINES[name].evaluations.items()
    }
    assert torch.equal(latents(pipe), bare)
    assert torch.isfinite(bare).all()


@every_pipeline
def test_every_branch_skips_all_that_the_method_allows(name: str, pipe: Tiny) -> None:
    bare, method = latents(pipe), lenient(pipe)
    with skipstone.attach(pipe.pipe, method) as cache:
        skipping = latents(pipe)
    computed = 1 if method is LENIENT else 2
    assert cache.last_run.branches == {
        branch: {"computed": computed, "skipped": count - computed}
        for branch, count in PIPELINES[name].evaluations.items()
    }
    assert torch.isfinite(skipping).all()
    assert not torch.equal(skipping, bare)


@every_pipeline
def test_skipping_repeats_what_the_same_branch_computed(name: str, pipe: Tiny) -> None:
    """The model is given the same input at every evaluation of a branch: each must repeat the first."""
    with Replay(pipe) as replay:
        with skipstone.attach(pipe.pipe, lenient(pipe)) as cache:
            latents(pipe)
        assert cache.last_run.skipped > 0
    for branch in replay.outputs.values():
        for output in branch[1:]:
            assert all((a - b).norm() <= 1e-5 * b.norm() for a, b in zip(output, branch[0], strict=True))
    firsts = [branch[0][0] for branch in replay.outputs.values()]
    assert all(not torch.equal(firsts[0], other) for other in firsts[1:])


class Replay:
    """Gives a pipeline's models, at every evaluation of a branch, the inputs of its first one.

    A branch is a place in the order within a step here, whatever the cache makes of it.
    """

    def __init__(self, pipe: Tiny) -> None:
        self.outputs: dict[Any, list[list[Tensor]]] = {}
        self._inputs: dict[Any, Any] = {}
        self._order = 0
        self._scheduler = pipe.pipe.scheduler
        self._models = [m for name in MODELS if isinstance(m := getattr(pipe.pipe, name, None), nn.Module)]

    def __enter__(self) -> "Replay":
        replay, scheduler, cls = self, self._scheduler, type(self._scheduler)

        @functools.wraps(cls.step)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            replay._order = 0
            return cls.step(self, *args, **kwargs)

        self._swap = give_subclass(scheduler, {"step": step})
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True) for model in self._models
        ]
        self._hooks += [model.register_forward_hook(self._after) for model in self._models]
        return self

    def __exit__(self, *error: object) -> None:
        self._swap.undo()
        for hook in self._hooks:
            hook.remove()

    def _before(self, model: nn.Module, args: Any, kwargs: Any) -> Any:
        first = self._inputs.setdefault((id(model), self._order), cloned((args, kwargs)))
        return cloned(first)

    def _after(self, model: nn.Module, args: Any, output: Any) -> None:
        seen = [
            tensor.clone()
            for tensor in tensors(output if isinstance(output, tuple) else tuple(output.values()))
        ]
        self.outputs.setdefault((id(model), self._order), []).append(seen)
        self._order += 1


def cloned(value: Any) -> Any:
    return drawn(value, torch.Generator())


def lenient(pipe: Tiny) -> Cacher[Any]:
    """A method that skips wherever its rules allow it."""
    return LENIENT_OUTPUT if hasattr(pipe.pipe, "unet") else LENIENT


def latents(pipe: Tiny) -> Tensor:
    """What a run returns; some pipelines draw their noise without a generator."""
    torch.manual_seed(0)
    return torch.as_tensor(pipe())
