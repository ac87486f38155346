"""Skipped steps as graphs: the logic on the CPU, with a capturer that does the same operations again.

Tests with the mark `gpu` do the same with CUDA graphs.
"""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import skipstone
from skipstone import FORA, FirstBlock, Taylor, WithPredictor
from skipstone.pipelines.graphs import capture
from skipstone.pipelines.model.arguments import tensors_in
from skipstone.pipelines.run.loop_timer import LoopTimer
from support.tiny import PIPELINES
from support.toy import ToyModel, ToyPipeline, drifting

NO_GRAPH = "skipped steps run as they are written, not as graphs"


class Tape(TorchDispatchMode):
    """Notes the operations of some work on the memory that they work on; `replay` does them again there."""

    nbytes = 0
    output: Any

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        for func, args, kwargs, kept in self.calls:
            if not func.is_view:
                for old, new in zip(tensors_in(kept), tensors_in(func(*args, **kwargs)), strict=True):
                    old.copy_(new)


class Tapes:
    """Counts the captures."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.made: list[Tape] = []

    def capture(self, work: Callable[[], Any]) -> Tape:
        with Tape() as tape:
            tape.output = work()
        self.made.append(tape)
        return tape


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tapes]:
    """Captures on the CPU, without gradients."""
    only = Tapes(torch.device("cpu"))
    monkeypatch.setitem(capture.CAPTURERS, "cpu", lambda device: only)
    with torch.no_grad():
        yield only


class Scaled(ToyModel):
    """A model with a weight of its own before its blocks, and other things that it may do there."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.factor = 1.0
        self.before: Callable[[Tensor], Tensor] = lambda hidden_states: hidden_states

    def forward(
        self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None, extra: Any = None
    ) -> Tensor:
        shift = extra if isinstance(extra, (int, float)) else 0
        hidden_states = self.before(hidden_states) * self.scale * self.factor + shift
        return super().forward(hidden_states, temb, inject)


class Twice:
    """One model's runs as it is written, and those of its twin by graphs."""

    def __init__(self, method: Any, make: Callable[[], ToyModel] = Scaled, branches: int = 1, **kwargs: Any):
        self.pipes = [ToyPipeline(make(), branches) for _ in range(2)]
        self.plain = skipstone.attach(self.pipes[0], method, **kwargs)
        self.graphs = skipstone.attach(self.pipes[1], method, graphs=True, **kwargs)

    @property
    def model(self) -> Any:
        return self.pipes[1].transformer

    def change(self, change: Callable[[Any], Any]) -> None:
        for pipe in self.pipes:
            change(pipe.transformer)

    def run(self, steps: int = 8, **kwargs: Any) -> skipstone.RunStats:
        """Run both, see that they give the same, and return what the graphs did."""
        ours, theirs = (pipe(drifting(steps), **kwargs) for pipe in self.pipes[::-1])
        assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))
        assert self.graphs.last_run.strip == self.plain.last_run.strip
        return self.graphs.last_run


@pytest.mark.parametrize("method", [FORA(4), WithPredictor(FORA(3), Taylor(order=2)), "fora+freqca"])
@pytest.mark.parametrize("form", [{}, {"snapshots": "int8"}, {"cache_device": "cpu"}])
def test_replays_give_what_the_model_gives(tapes: Tapes, method: Any, form: dict[str, str]) -> None:
    stats = Twice(method, **form).run(9)
    assert len(tapes.made) == 1
    assert stats.replayed == stats.skipped - 1 > 0
    assert not stats.notes


@pytest.mark.usefixtures("tapes")
def test_a_timed_run_is_replayed_too() -> None:
    twice = Twice(FORA(4))
    with LoopTimer(twice.pipes[1]) as timer:
        assert twice.run(9).replayed == 5
        assert timer.seconds > 0
    cls = type(twice.model)
    with LoopTimer(twice.pipes[1]):
        assert type(twice.model) is not cls
    assert type(twice.model) is cls


def test_each_branch_has_a_graph(tapes: Tapes) -> None:
    twice = Twice(FORA(4), branches=2)
    assert twice.run().replayed == 10
    assert len(tapes.made) == 2


def test_outputs_stay_as_they_were_handed_out(tapes: Tapes) -> None:
    pipe = ToyPipeline(Scaled())
    with skipstone.attach(pipe, FORA(8), graphs=True):
        outputs = pipe(drifting(8))
    assert len({float(output.mean()) for output in outputs}) == 8


def test_a_replay_runs_no_python_of_the_model(tapes: Tapes) -> None:
    twice, runs = Twice(FORA(4)), []
    twice.model.before = lambda hidden_states: runs.append(1) or hidden_states
    stats = twice.run()
    # One of the skipped evaluations was run, and captured besides.
    assert len(runs) == 1 + stats.computed + 1 + 1


def test_graphs_outlive_a_run_and_are_proven_in_each(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    first, second = twice.run(), twice.run()
    assert first.replayed == second.replayed == 5
    assert len(tapes.made) == 1


def test_what_a_run_does_not_use_is_dropped_with_the_next(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    for batch in (1, 2, 1, 1):
        for pipe in twice.pipes:
            pipe(drifting(8, batch=batch))
    assert len(tapes.made) == 3


def test_changed_weights_count(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    twice.run()
    twice.change(lambda model: model.scale.mul_(2))
    twice.run()
    assert len(tapes.made) == 1


def test_moved_weights_are_captured_anew(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    twice.run()
    twice.change(lambda model: setattr(model.scale, "data", torch.tensor(3.0)))
    assert twice.run().replayed == 5
    assert len(tapes.made) == 2


def test_a_number_that_is_no_tensor_is_captured_anew(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    twice.run()
    twice.change(lambda model: setattr(model, "factor", 3.0))
    assert twice.run().replayed == 5
    assert len(tapes.made) == 2


def test_other_plain_arguments_are_another_graph(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    for pipe in twice.pipes:
        inputs = drifting(16)
        pipe([{**given, "extra": n // 8} for n, given in enumerate(inputs)])
    assert len(tapes.made) == 2
    assert twice.graphs.last_run.replayed == 10


def test_an_argument_that_changes_on_each_step_is_no_graph_for_long(tapes: Tapes) -> None:
    pipe = ToyPipeline(Scaled())
    with skipstone.attach(pipe, FORA(40), graphs=True) as cache:
        pipe([{**given, "extra": float(n)} for n, given in enumerate(drifting(40))])
    assert len(tapes.made) == 8
    assert any(NO_GRAPH in note and "change from step to step" in note for note in cache.last_run.notes)


def goes_elsewhere(hidden_states: Tensor) -> Tensor:
    hidden_states.to("meta")
    return hidden_states


PROBLEMS: dict[str, Callable[[Any], Any]] = {
    "waits for the device": lambda model: setattr(model, "before", lambda x: x * float(x.mean())),
    "another device": lambda model: setattr(model, "before", goes_elsewhere),
    "another output": lambda model: setattr(model, "before", lambda x: x * (1 + 1e-5 * torch.rand(1))),
    "hooks": lambda model: model.register_forward_hook(lambda *_: None),
    "raised": lambda model: setattr(model, "before", raises_under_a_mode),
}


def raises_under_a_mode(hidden_states: Tensor) -> Tensor:
    if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
        raise RuntimeError("raised")
    return hidden_states


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_cannot_be_captured_runs_as_it_is_written(tapes: Tapes, problem: str) -> None:
    twice = Twice(FORA(4))
    twice.change(PROBLEMS[problem])
    for pipe in twice.pipes:
        torch.manual_seed(0)
        pipe(drifting(8))
    stats = twice.graphs.last_run
    assert stats.replayed == 0
    assert stats.strip == twice.plain.last_run.strip
    assert [note for note in stats.notes if NO_GRAPH in note and problem in note]


class OwnTensor(Tensor):
    """May do anything in Python."""


@pytest.mark.parametrize("given", [object(), torch.ones(1).as_subclass(OwnTensor)])
def test_an_argument_that_is_not_understood_is_no_graph(tapes: Tapes, given: Any) -> None:
    stats = Twice(FORA(4)).run(extra=given)
    assert stats.replayed == 0
    assert any(f"given a {type(given).__name__}" in note for note in stats.notes)


def test_a_gate_within_the_model_is_no_graph(tapes: Tapes) -> None:
    stats = Twice(FirstBlock(0.5)).run()
    assert stats.replayed == 0
    assert any("decided while the model runs" in note for note in stats.notes)


def test_a_device_without_graphs_is_named() -> None:
    with torch.no_grad():
        stats = Twice(FORA(4)).run()
    assert stats.replayed == 0
    assert sum(NO_GRAPH in note for note in stats.notes) == 1
    assert any("runs on the cpu" in note for note in stats.notes)


def test_with_gradients_there_is_no_graph(tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyPipeline, "__call__", ToyPipeline.__call__.__wrapped__)  # type: ignore[attr-defined]
    with torch.enable_grad():
        assert Twice(FORA(4)).run().replayed == 0


def test_memory_is_counted_and_freed(tapes: Tapes) -> None:
    twice = Twice(FORA(4))
    plain, stats = twice.plain, twice.run()
    # The two inputs, and the estimate.
    assert stats.bytes_held == plain.last_run.bytes_held + 3 * 8 * 4
    (engine,) = twice.graphs._engines
    assert engine.bytes_held == 3 * 8 * 4
    twice.graphs.remove()
    assert engine.bytes_held == 0


def on_cuda(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cuda() for name, tensor in given.items()}


@pytest.mark.gpu
@torch.no_grad()
@pytest.mark.parametrize("method", [FORA(4), WithPredictor(FORA(3), Taylor(order=2)), "fora+freqca"])
@pytest.mark.parametrize("form", [{}, {"snapshots": "fp8"}, {"cache_device": "cpu"}])
def test_cuda_graphs_give_what_the_model_gives(method: Any, form: dict[str, str]) -> None:
    twice = Twice(method, lambda: Scaled().cuda(), branches=2, **form)
    for _ in range(3):
        ours, theirs = (pipe(map(on_cuda, drifting(12))) for pipe in twice.pipes)
        stats = twice.graphs.last_run
        assert all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(ours, theirs, strict=True))
        assert stats.replayed == stats.skipped - 2 > 0
        assert not stats.notes


@pytest.mark.gpu
@torch.no_grad()
@pytest.mark.parametrize("name", ["wan", "flux", "sd3", "cogvideox"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_real_models_are_replayed(name: str, dtype: torch.dtype) -> None:
    tiny = PIPELINES[name]()
    tiny.pipe.to("cuda", dtype)
    embeds = {k: v.to("cuda", dtype) for k, v in tiny.kwargs.items() if isinstance(v, Tensor)}
    method = WithPredictor(FORA(3), Taylor(order=1))
    with skipstone.attach(tiny.pipe, method) as cache:
        expected = [tiny(**embeds) for _ in range(2)][-1]
        strip = cache.last_run.strip
    with skipstone.attach(tiny.pipe, method, graphs=True) as cache:
        got = [tiny(**embeds) for _ in range(2)][-1]
        stats = cache.last_run
    assert stats.strip == strip
    assert stats.replayed > 0, stats.notes
    assert float((got - expected).norm() / expected.norm()) < (1e-4 if dtype == torch.float32 else 0.05)


@pytest.mark.gpu
@torch.no_grad()
def test_a_failed_capture_leaves_the_device_as_it_was() -> None:
    """A copy from main memory goes unseen by the watch, but not by the capture."""
    stream, twice = torch.cuda.current_stream(), Twice(FORA(4), lambda: Scaled().cuda())
    twice.change(lambda model: setattr(model, "before", lambda x: x + torch.tensor([1.0], device="cuda")))
    for pipe in twice.pipes:
        pipe(map(on_cuda, drifting(8)))
    stats = twice.graphs.last_run
    assert stats.replayed == 0
    assert any(NO_GRAPH in note for note in stats.notes)
    assert torch.cuda.current_stream() == stream
    torch.rand(2, device="cuda")


@pytest.mark.gpu
@torch.no_grad()
def test_removing_frees_the_memory() -> None:
    pipe = ToyPipeline(Scaled().cuda())
    inputs = [on_cuda(given) for given in drifting(8)]
    pipe(inputs)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    with skipstone.attach(pipe, FORA(4), graphs=True) as cache:
        pipe(inputs)
        assert cache.last_run.replayed == 5
    del cache
    gc.collect()
    torch.cuda.empty_cache()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before
