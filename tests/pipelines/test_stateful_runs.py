"""Runs of real pipelines in any order, nested, side by side and broken off: each picture is its own."""

import copy
import os
import pickle
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from torch import Tensor

import skipstone
from skipstone import FORA, RunCap, Taylor, TeaCache, WithPredictor
from support.tiny_pipelines import PIPELINES

METHODS: dict[str, Any] = {
    "none": None,
    "off": TeaCache(threshold=0.0),
    "fora": FORA(2),
    "taylor": WithPredictor(FORA(3), Taylor(order=1)),
    "teacache": RunCap(TeaCache(threshold=1e9), skips=2),
}
KINDS = ("wan", "flux", "sd3", "cog-video-x", "stable-diffusion-xl", "ltx", "qwen")
LONG = "SKIPSTONE_STATEFUL_EXAMPLES" in os.environ
"""A long run tries other histories each time; pytest says how to repeat those that fail."""

EXAMPLES = int(os.environ.get("SKIPSTONE_STATEFUL_EXAMPLES", "3"))
"""How many histories of up to 30 operations are tried."""

Change = Callable[[Any, int], dict[str, Any]]


class BrokenOffError(Exception):
    """Ends a run in its middle."""


def picture(run: Any, seed: int, steps: int, change: Change = lambda pipe, index: {}) -> Tensor:
    """What a run makes, with something done after each of its steps."""
    with torch.no_grad():
        found: Tensor = run(
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=lambda pipe, index, time, given: change(pipe, index),
        )
    return found


@cache
def alone(kind: str, method: str, seed: int, steps: int) -> Tensor:
    """The picture of a fresh pipeline that has never done anything else."""
    run = PIPELINES[kind].make()
    if METHODS[method] is None:
        return picture(run, seed, steps)
    with skipstone.attach(run.pipe, METHODS[method]):
        return picture(run, seed, steps)


any_seed, any_steps, any_step = st.integers(0, 2), st.sampled_from([4, 6]), st.integers(0, 2)


class Runs(RuleBasedStateMachine):
    """One pipeline through its life."""

    @initialize(kind=st.sampled_from(KINDS))
    def make(self, kind: str) -> None:
        self.kind, self.run = kind, PIPELINES[kind].make()
        self.method, self.cache = "none", None

    @rule(method=st.sampled_from(list(METHODS)))
    def attach(self, method: str) -> None:
        self.remove()
        if METHODS[method] is not None:
            self.cache = skipstone.attach(self.run.pipe, METHODS[method])
        self.method = method

    @rule()
    def remove(self) -> None:
        if self.cache is not None:
            self.cache.remove()
        self.method, self.cache = "none", None

    @rule(seed=any_seed, steps=any_steps)
    def plain(self, seed: int, steps: int) -> None:
        self._is_right(picture(self.run, seed, steps), seed, steps)

    @rule(seed=any_seed, inner=any_seed, steps=any_steps, at=any_step)
    def nested(self, seed: int, inner: int, steps: int, at: int) -> None:
        """A whole run in the callback of another one, whose scheduler it would move."""
        found: list[Tensor] = []

        def change(pipe: Any, index: int) -> dict[str, Any]:
            if index == at:
                other = copy.copy(self.run)
                other.pipe = type(pipe)(**{**pipe.components, "scheduler": copy.deepcopy(pipe.scheduler)})
                other.pipe.set_progress_bar_config(disable=True)
                found.append(picture(other, inner, 4))
            return {}

        self._is_right(picture(self.run, seed, steps, change), seed, steps)
        bare = alone(self.kind, "none", inner, 4)
        assert torch.equal(found[0], bare) or torch.equal(found[0], alone(self.kind, self.method, inner, 4))

    @rule(seed=any_seed, steps=any_steps, at=any_step, inside=st.booleans())
    def broken_off(self, seed: int, steps: int, at: int, inside: bool) -> None:
        """In the callback, or within the model."""

        def fail(*given: Any) -> Any:
            raise BrokenOffError

        def change(pipe: Any, index: int) -> dict[str, Any]:
            if index == at and not inside:
                fail()
            if index == at:
                hooks.append(self._model.register_forward_pre_hook(fail))
            return {}

        hooks: list[Any] = []
        with pytest.raises(BrokenOffError):
            picture(self.run, seed, steps, change)
        for hook in hooks:
            hook.remove()

    @rule(seed=any_seed, steps=any_steps)
    def copied(self, seed: int, steps: int) -> None:
        """A copy, or a pickle, is plain."""
        other = copy.copy(self.run)
        other.pipe = copy.deepcopy(self.run.pipe)
        assert torch.equal(picture(other, seed, steps), alone(self.kind, "none", seed, steps))
        pickle.loads(pickle.dumps(self._model))

    @rule()
    def called_outside(self) -> None:
        """The model is called by itself, as in training."""
        given: list[Any] = []
        hook = self._model.register_forward_pre_hook(
            lambda module, args, kwargs: given.append((args, kwargs)), with_kwargs=True
        )
        picture(self.run, 0, 4)
        hook.remove()
        args, kwargs = given[0]
        with torch.enable_grad():
            output = self._model(*args, **{**kwargs, "return_dict": False})[0]
        assert output.requires_grad
        output.square().mean().backward()
        self._model.zero_grad()

    @rule(seeds=st.permutations([0, 1, 2]), steps=any_steps)
    def threads(self, seeds: list[int], steps: int) -> None:
        """Two pipelines that share the model, at the same time: one has the cache."""
        other = copy.copy(self.run)
        other.pipe = type(self.run.pipe)(
            **{**self.run.pipe.components, "scheduler": copy.deepcopy(self.run.pipe.scheduler)}
        )
        other.pipe.set_progress_bar_config(disable=True)
        found: dict[int, Tensor] = {}
        work = [
            threading.Thread(target=lambda run=run, n=n: found.update({n: picture(run, seeds[n], steps)}))
            for n, run in enumerate((self.run, other))
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        self._is_right(found[0], seeds[0], steps)
        assert any(
            torch.equal(found[1], alone(self.kind, method, seeds[1], steps))
            for method in ("none", self.method)
        )

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.remove()

    @property
    def _model(self) -> Any:
        return self.run.model

    def _is_right(self, found: Tensor, seed: int, steps: int) -> None:
        assert torch.equal(found, alone(self.kind, self.method, seed, steps))


TestRuns = Runs.TestCase
TestRuns.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, derandomize=not LONG,
    suppress_health_check=list(HealthCheck), database=None, deadline=None,
)  # fmt: skip
