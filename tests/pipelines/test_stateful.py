"""Thousands of operations in any order: every output is that of a bare or a freshly attached pipeline."""

import os
from typing import Any

import diffusers as d
import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from torch import Tensor

import skipstone
from skipstone import FirstBlock, TeaCache
from support.toy import ToyModel, ToyPipeline, drifting

METHODS = [
    TeaCache(threshold=0.0),
    TeaCache(threshold=0.3),
    TeaCache(threshold=1e9),
    FirstBlock(threshold=1e9),
]
SCHEDULERS = [d.FlowMatchEulerDiscreteScheduler, d.DDIMScheduler, d.HeunDiscreteScheduler]
LONG = "SKIPSTONE_STATEFUL_EXAMPLES" in os.environ
"""A long run tries other histories each time; pytest says how to repeat those that fail."""

EXAMPLES = int(os.environ.get("SKIPSTONE_STATEFUL_EXAMPLES", "60"))
"""How many histories of up to 50 operations are tried."""


class Operations(RuleBasedStateMachine):
    """One toy pipeline through its life; the model of what it should do is a pipeline made anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.pipe = ToyPipeline(ToyModel(), branches=2)
        self.cache: Any = None
        self.method: Any = None
        self.scheduler: Any = SCHEDULERS[0]
        self.lora = 0.0

    @precondition(lambda self: self.cache is None)
    @rule(method=st.sampled_from(METHODS))
    def attach(self, method: Any) -> None:
        self.cache, self.method = skipstone.attach(self.pipe, method), method

    @precondition(lambda self: self.cache is not None)
    @rule()
    def remove(self) -> None:
        self.cache.remove()
        self.cache = self.method = None

    @rule(cls=st.sampled_from(SCHEDULERS))
    def swap_scheduler(self, cls: Any) -> None:
        self.pipe.scheduler, self.scheduler = cls(), cls

    @rule(scale=st.sampled_from([0.0, 1.0, -2.0]))
    def load_lora(self, scale: float) -> None:
        """Add to a weight, as a fused adapter does."""
        self.pipe.transformer.blocks[1].amount.data += scale - self.lora
        self.lora = scale

    @rule(steps=st.integers(1, 9), batch=st.integers(1, 2), rate=st.sampled_from([0.0, 0.05, 0.5]))
    def run(self, steps: int, batch: int, rate: float) -> None:
        got = self._run(self.pipe, steps, batch, rate)
        reference = ToyPipeline(ToyModel(), branches=2)
        reference.scheduler = self.scheduler()
        reference.transformer.blocks[1].amount.data += self.lora
        cache = None if self.method is None else skipstone.attach(reference, self.method)
        wanted = self._run(reference, steps, batch, rate)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        if cache is not None:
            assert self.cache.last_run.strip == cache.last_run.strip
            assert all(engine.bytes_held == 0 for engine in self.cache._engines)

    @rule(steps=st.integers(2, 9), done=st.integers(0, 7), inside=st.booleans())
    def abort(self, steps: int, done: int, inside: bool) -> None:
        """Break off between two steps, or within the model."""
        inputs = self._inputs(steps, 1, 0.05)[:done]
        broken = [({**cond, "temb": torch.ones(7, 7)}, uncond) for cond, uncond in inputs[-1:]]
        with torch.no_grad():
            if inside and broken:
                with pytest.raises(RuntimeError):
                    self.pipe([*inputs[:-1], *broken], steps=steps)
            else:
                self.pipe(inputs, steps=steps)

    def _run(self, pipe: ToyPipeline, steps: int, batch: int, rate: float) -> list[Tensor]:
        pipe.scheduler.set_timesteps(steps)
        count = len(pipe.scheduler.timesteps)
        with torch.no_grad():
            return pipe(self._inputs(count, batch, rate), steps=steps)

    def _inputs(self, count: int, batch: int, rate: float) -> list[Any]:
        return list(zip(drifting(count, rate, batch), drifting(count, -rate / 2, batch), strict=True))


TestOperations = Operations.TestCase
TestOperations.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=50, derandomize=not LONG,
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
