"""What is compiled stays compiled under a cache, blocks and whole models: counted, not assumed."""

import copy
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from packaging.version import Version
from torch._dynamo.utils import counters

import skipstone
from skipstone import (
    FORA,
    PAB,
    Cacher,
    DeepCache,
    DeltaDiT,
    FasterCache,
    FirstBlock,
    RunCap,
    Taylor,
    TeaCache,
    TGate,
    WithPredictor,
)
from skipstone.pipelines import engine
from skipstone.pipelines.model import watched
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.model.compiled import FOLLOWS
from skipstone.pipelines.planning import autoplan
from skipstone.schedules.search import Target, find
from support import tiny
from support.methods import blocks, codebook, smooth
from support.tiny_pipelines import unet
from support.toy import ToyModel, ToyPipeline, constant

COMPILED = {name: tiny.PIPELINES[name] for name in ("wan", "flux")}
"""Pipelines whose transformer says which of its blocks repeat."""


class Counting:
    """A backend that runs what it is given, and counts it.

    Args:
        meanwhile: called before each run of a graph.
    """

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.graphs = 0
        self._meanwhile = meanwhile

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*args: Any) -> Any:
            self._meanwhile()
            return graph.forward(*args)

        return run


@pytest.fixture(autouse=True)
def _fresh_compiler() -> object:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


followed = pytest.mark.skipif(not FOLLOWS, reason="torch before 2.9 follows no model with a cache")
"""For what is compiled as a whole; older ones run it uncompiled."""


@functools.cache
def bare_graphs(name: str) -> int:
    """How many graphs the pipeline needs without a cache."""
    pipe, backend = COMPILED[name](), Counting()
    pipe.pipe.transformer.compile_repeated_blocks(backend=backend, fullgraph=True)
    pipe()
    torch._dynamo.reset()
    return backend.graphs


@pytest.mark.parametrize("compiled_first", [True, False], ids=["compiled first", "attached first"])
@pytest.mark.parametrize(("name", "method"), [("wan", "teacache"), ("flux", "first-block")])
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


@pytest.mark.skipif(Version(torch.__version__) < Version("2.7"), reason="torch 2.6 compiles each block anew")
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


def shallow(make: Callable[[], tiny.Tiny]) -> Callable[[], tiny.Tiny]:
    """Makes a pipeline whose model has two blocks, enough to skip one: to trace each takes its time."""

    def cut() -> tiny.Tiny:
        pipe = make()
        lists = list(block_lists(pipe.pipe.transformer).values())
        for stack in lists:
            del stack[1 : len(stack) - (len(lists) == 1)]
        return pipe

    return cut


wan, flux, sd3 = map(shallow, (tiny.wan, tiny.flux, tiny.sd3))

WHOLE: dict[str, tuple[Callable[[], tiny.Tiny], Cacher[Any]]] = {
    "first block": (wan, RunCap(FirstBlock(threshold=1e9), skips=1)),
    "first block of text and image": (tiny.flux, RunCap(FirstBlock(threshold=1e9), skips=1)),
    "modulated input": (wan, RunCap(TeaCache(threshold=1e9), skips=1)),
    "time embedding": (sd3, RunCap(TeaCache(threshold=1e9, rescale="none"), skips=1)),
    "other weights on every step": (flux, WithPredictor(FORA(interval=3), Taylor(order=1))),
    "a watched attention": (wan, codebook(1e9, 3)),
    "a watched attention of text and image": (flux, codebook(1e9, 3)),
    "deep branch": (unet.stable_diffusion, DeepCache(interval=2)),
}
"""Methods that skip and compute in turn."""


def compile_in_place(pipe: Any, name: str, **options: Any) -> None:
    getattr(pipe, name).compile(**options)


def compile_and_wrap(pipe: Any, name: str, **options: Any) -> None:
    setattr(pipe, name, torch.compile(getattr(pipe, name), **options))


WAYS = {
    "in place": (compile_in_place, True),
    "wrapped, then attached": (compile_and_wrap, True),
    "attached, then wrapped": (compile_and_wrap, False),
}
"""How a model is compiled, and whether that is before a cache is attached."""


@followed
@pytest.mark.parametrize(
    ("case", "way"),
    [*((case, "in place") for case in WHOLE), *(("first block", way) for way in WAYS if way != "in place")],
)
def test_a_whole_model_is_one_graph_for_computing_and_one_for_skipping(case: str, way: str) -> None:
    compile_it, compiled_first = WAYS[way]
    make, method = WHOLE[case]
    pipe, backend = make(), Counting()
    model = "unet" if hasattr(pipe.pipe, "unet") else "transformer"
    with skipstone.attach(pipe.pipe, method) as cache:
        eager, strip = pipe(num_inference_steps=12), cache.last_run.strip
    if compiled_first:
        compile_it(pipe.pipe, model, backend=backend)
    with skipstone.attach(pipe.pipe, method) as cache:
        if not compiled_first:
            compile_it(pipe.pipe, model, backend=backend)
        compiled = pipe(num_inference_steps=12)
        assert (compiled - eager).norm() <= 1e-5 * eager.norm()
        assert cache.last_run.strip == strip
        assert strip.count("#") > 1 < strip.count(".")
        pipe(num_inference_steps=9)
    assert backend.graphs == 2
    assert not counters["graph_break"]


BY_LAYER = {
    "pab": PAB(2, 3, 4, from_timestep=1e9, until_timestep=-1e9),
    "tgate": TGate(gate=4, interval=2, warmup=1),
    "fastercache": FasterCache(start=0.2, guidance_start=0.2, guidance_interval=3),
    "delta-dit": DeltaDiT(2, share=0.75),
    "smoothcache": smooth(0.3),
    "block-caching": blocks(0.2),
}


@followed
@pytest.mark.parametrize(
    ("method", "name", "most"),
    [*((method, "wan", 7) for method in BY_LAYER), ("pab", "flux", 10), ("smoothcache", "flux", 10)],
)
def test_a_whole_model_with_skipped_layers_is_compiled_in_pieces_once(
    method: str, name: str, most: int
) -> None:
    """The first run compiles, and no later one does, on no step; alike blocks share their pieces."""
    pipe, backend = tiny.PIPELINES[name](), Counting()
    with skipstone.attach(pipe.pipe, BY_LAYER[method]) as cache:
        eager, strip = pipe(), cache.last_run.strip
    compile_in_place(pipe.pipe, "transformer", backend=backend)
    with skipstone.attach(pipe.pipe, BY_LAYER[method]) as cache:
        torch.testing.assert_close(pipe(), eager)
        after_one = backend.graphs
        pipe()
        pipe()
    assert 0 < after_one == backend.graphs <= most
    assert cache.last_run.strip == strip
    assert "what this method may skip runs uncompiled" in cache.last_run.notes[0]


@followed
@pytest.mark.parametrize("method", ["pab", "smoothcache", "block-caching"])
def test_deeper_models_are_compiled_in_no_more_pieces(method: str) -> None:
    def graphs(layers: int) -> int:
        torch._dynamo.reset()
        pipe, backend = tiny.wan(), Counting()
        stack = pipe.pipe.transformer.blocks
        stack.extend(copy.deepcopy(stack[0]) for _ in range(layers - len(stack)))
        compile_in_place(pipe.pipe, "transformer", backend=backend)
        with skipstone.attach(pipe.pipe, BY_LAYER[method]):
            pipe()
        return backend.graphs

    assert graphs(3) == graphs(6)


@followed
@pytest.mark.parametrize("compile_it", [compile_in_place, compile_and_wrap])
def test_a_whole_model_may_forbid_graph_breaks(compile_it: Callable[..., None]) -> None:
    make, method = WHOLE["first block"]
    compile_it((pipe := make()).pipe, "transformer", backend=Counting(), fullgraph=True)
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe()
    assert cache.last_run.skipped > 0


@followed
@pytest.mark.parametrize("make", [wan, flux], ids=["one stream", "text and image"])
def test_a_recorded_run_of_a_whole_model_needs_no_graph_of_its_own(
    make: Callable[[], tiny.Tiny], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its computed steps differ from those of later runs only in what is kept of them."""
    monkeypatch.setattr(autoplan, "records_folder", lambda: tmp_path)
    pipe, backend = make(), Counting()
    pipe.pipe.transformer.compile(backend=backend, fullgraph=True)
    with skipstone.attach(pipe.pipe, speedup=2.0) as cache:
        pipe(num_inference_steps=12)
        assert cache.last_run.skipped == 0
        assert backend.graphs == 1
        pipe(num_inference_steps=12)
        assert cache.last_run.skipped > 0
        assert backend.graphs == 2


@pytest.mark.parametrize("way", [*WAYS] if FOLLOWS else [way for way in WAYS if WAYS[way][1]])
@pytest.mark.parametrize("method", [WHOLE["first block"][1], BY_LAYER["pab"]], ids=["first block", "layers"])
def test_where_torch_cannot_follow_the_whole_model_runs_uncompiled(
    way: str, method: Cacher[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "FOLLOWS", False)
    compile_it, compiled_first = WAYS[way]
    pipe, backend = tiny.flux(), Counting()
    with skipstone.attach(pipe.pipe, method) as cache:
        eager, strip = pipe(), cache.last_run.strip
    if compiled_first:
        compile_it(pipe.pipe, "transformer", backend=backend)
    with skipstone.attach(pipe.pipe, method) as cache:
        if not compiled_first:
            compile_it(pipe.pipe, "transformer", backend=backend)
        assert torch.equal(pipe(), eager)
    assert cache.last_run.strip == strip
    assert backend.graphs == 0
    assert cache.last_run.notes[0].endswith("uncompiled: compile its blocks instead, or pip install -U torch")


def test_a_whole_model_runs_bare_again_after_removal() -> None:
    pipe = wan()
    bare = pipe()
    pipe.pipe.transformer = torch.compile(pipe.pipe.transformer, backend=Counting())
    with skipstone.attach(pipe.pipe, FORA(interval=2)):
        assert not torch.equal(pipe(), bare)
    assert type(pipe.pipe.transformer) is torch._dynamo.OptimizedModule
    assert type(pipe.pipe.transformer._orig_mod) is diffusers.WanTransformer3DModel
    assert torch.equal(pipe(), bare)


FIVES = {name: 5 * tensor for name, tensor in constant(1)[0].items()}


@followed
@pytest.mark.parametrize("waits", [True, False])
def test_another_thread_in_a_compiled_model_gets_its_own_answer(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls while the cached pipeline skips, which may wait for it: that graph must not answer it."""
    monkeypatch.setattr(watched, "PATIENCE", 0.01 if waits else 60.0)
    model, answers, threads = ToyModel(), [], []

    def call_from_elsewhere() -> None:
        if threading.current_thread() is threading.main_thread():
            threads.append(thread := threading.Thread(target=lambda: answers.append(model(**FIVES))))
            thread.start()
            if waits:
                thread.join()

    model.compile(backend=Counting(call_from_elsewhere))
    with torch.no_grad(), skipstone.attach(pipe := ToyPipeline(model), FORA(interval=2)) as cache:
        pipe(constant(4))
        for thread in threads:
            thread.join()
    assert cache.last_run.strip == "#.#."
    assert len(answers) == len(threads) > 1
    assert all(torch.equal(answer, 35 * torch.ones(1, 4, 2)) for answer in answers)


def test_a_compiled_model_and_the_model_itself_share_their_plans() -> None:
    def recorded(is_compiled: bool) -> tuple[tiny.Tiny, skipstone.Record]:
        case = flux()
        if is_compiled:
            case.pipe.transformer = torch.compile(case.pipe.transformer, backend="eager")
        asked = {**case.kwargs, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
        return case, skipstone.record(case.pipe, **asked)

    (plain, by_plain), (compiled, by_compiled) = recorded(False), recorded(True)
    assert by_compiled.made_for == by_plain.made_for
    for case, record in ((plain, by_compiled), (compiled, by_plain)):
        # Without runs that compare candidates: each would be compiled anew.
        plan = find(record, Target(computed=2))
        with skipstone.attach(case.pipe, plan) as cache:
            case()
        assert cache.last_run.strip == plan.strip


def test_a_compiled_model_takes_one_cache() -> None:
    case = tiny.flux()
    case.pipe.transformer = torch.compile(case.pipe.transformer, backend="eager")
    with skipstone.attach(case.pipe, "fora"), pytest.raises(ValueError, match="has a cache already"):
        skipstone.attach(case.pipe, "fora")
