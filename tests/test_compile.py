"""Regional compilation stays as it is under a cache: counted, not assumed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

import skipstone
import tiny
from skipstone import PAB

COMPILED = {name: tiny.PIPELINES[name] for name in ("wan", "flux")}
"""Pipelines whose transformer says which of its blocks repeat."""


class Counting:
    """A backend that runs what it is given, and counts it."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1
        forward: Callable[..., Any] = graph.forward
        return forward


@pytest.fixture(autouse=True)
def _fresh_compiler() -> object:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def bare_graphs(name: str) -> int:
    """How many graphs the pipeline needs without a cache."""
    pipe, backend = COMPILED[name](), Counting()
    pipe.pipe.transformer.compile_repeated_blocks(backend=backend, fullgraph=True)
    pipe()
    torch._dynamo.reset()
    return backend.graphs


@pytest.mark.parametrize("compiled_first", [True, False], ids=["compiled first", "attached first"])
@pytest.mark.parametrize("method", ["first-block", "teacache"])
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_blocks_need_no_more_graphs(name: str, method: str, compiled_first: bool) -> None:
    """With ``fullgraph`` a break would raise; another graph in a later step or run would be counted."""
    expected = bare_graphs(name)
    pipe, backend = COMPILED[name](), Counting()
    transformer = pipe.pipe.transformer
    with skipstone.attach(pipe.pipe, method, threshold=1e9):
        eager = pipe()
    if compiled_first:
        transformer.compile_repeated_blocks(backend=backend, fullgraph=True)
    with skipstone.attach(pipe.pipe, method, threshold=1e9) as cache:
        if not compiled_first:
            transformer.compile_repeated_blocks(backend=backend, fullgraph=True)
        assert torch.equal(pipe(), eager)
        assert cache.last_run.skipped > 0
        pipe(num_inference_steps=5)
    assert backend.graphs == expected
    assert not counters["graph_break"]


@pytest.mark.parametrize("name", COMPILED)
def test_an_attention_can_be_watched_in_compiled_blocks(name: str) -> None:
    """The watched block runs uncompiled, and the others stay as they were."""
    expected, method = bare_graphs(name), skipstone.AdaCache("open-sora-100-fast")
    pipe, backend = COMPILED[name](), Counting()
    with skipstone.attach(pipe.pipe, method) as cache:
        eager, strip = pipe(num_inference_steps=20), cache.last_run.strip
    pipe.pipe.transformer.compile_repeated_blocks(backend=backend, fullgraph=True)
    with skipstone.attach(pipe.pipe, method) as cache:
        assert torch.equal(pipe(num_inference_steps=20), eager)
    assert cache.last_run.strip == strip
    assert "." in strip
    assert backend.graphs <= expected
    assert not counters["graph_break"]


def test_wan_is_one_graph() -> None:
    assert bare_graphs("wan") == 1


@pytest.mark.parametrize(("name", "attentions"), [("wan", 2), ("flux", 1)])
def test_blocks_around_skipped_layers_are_compiled_once_for_all(name: str, attentions: int) -> None:
    """A layer that may be skipped parts its block's graph in two; blocks that were alike still are."""
    most = (attentions + 1) * bare_graphs(name)
    attention = PAB(3, 3, 3, from_timestep=1e9, until_timestep=-1e9)
    pipe, backend = COMPILED[name](), Counting()
    with skipstone.attach(pipe.pipe, attention):
        eager = pipe()
    pipe.pipe.transformer.compile_repeated_blocks(backend=backend)
    with skipstone.attach(pipe.pipe, attention) as cache:
        torch.testing.assert_close(pipe(), eager)
        pipe()
    assert cache.last_run.strip == "#++#++#+"
    assert backend.graphs <= most
