"""Adapters loaded, swapped, rescaled and unloaded in any order under a cache, with real ones of peft."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import skipstone
from skipstone import FirstBlock, TeaCache
from support import tiny
from support.adapters import lora

pytest.importorskip("peft", reason="adapters need peft")

METHODS = [TeaCache(threshold=0.0), TeaCache(threshold=1e9), FirstBlock(threshold=1e9)]


class Adapters(RuleBasedStateMachine):
    """One pipeline through its life; what it should give is asked of one made anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.pipe = tiny.wan()
        self.cache: Any = None
        self.method: Any = None
        self.adapter: int | None = None
        self.scale = 1.0

    @precondition(lambda self: self.cache is None)
    @rule(method=st.sampled_from(METHODS))
    def attach(self, method: Any) -> None:
        self.cache, self.method = skipstone.attach(self.pipe.pipe, method), method

    @precondition(lambda self: self.cache is not None)
    @rule()
    def remove(self) -> None:
        self.cache.remove()
        self.cache = self.method = None

    @rule(adapter=st.integers(1, 3))
    def load(self, adapter: int) -> None:
        """The first one is loaded, the others take its place; diffusers may forget the scale."""
        lora(self.pipe, adapter, "style", hotswap=self.adapter is not None)
        self.pipe.pipe.transformer.set_adapters("style", self.scale)
        self.adapter = adapter

    @precondition(lambda self: self.adapter is not None)
    @rule(scale=st.sampled_from([0.5, 1.0, 2.0]))
    def rescale(self, scale: float) -> None:
        self.pipe.pipe.transformer.set_adapters("style", scale)
        self.scale = scale

    @precondition(lambda self: self.adapter is not None)
    @rule()
    def unload(self) -> None:
        self.pipe.pipe.transformer.unload_lora()
        self.adapter, self.scale = None, 1.0

    @rule(steps=st.integers(1, 4))
    def run(self, steps: int) -> None:
        reference = tiny.wan()
        if self.adapter is not None:
            lora(reference, self.adapter, "style")
            reference.pipe.transformer.set_adapters("style", self.scale)
        if self.method is not None:
            skipstone.attach(reference.pipe, self.method)
        wanted = reference(num_inference_steps=steps)
        assert torch.equal(self.pipe(num_inference_steps=steps), wanted)


TestAdapters = Adapters.TestCase
TestAdapters.settings = settings(
    max_examples=6, stateful_step_count=20, derandomize=True,
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
