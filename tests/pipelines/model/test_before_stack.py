"""Blocks before a model's stack are left out of skipped steps where nothing that is used depends on them."""

from typing import Any

import diffusers
import pytest
import torch
from packaging.version import Version
from torch import Tensor, nn

import skipstone
from skipstone import FORA, FirstBlock, RunCap, SeaCache, TeaCache
from support.tiny_pipelines import PIPELINES
from support.toy import Adds, ToyAttention, ToyModel, ToyPipeline, constant, drifting

CHECK = 1
"""Once a model's blocks are known, the first computed step is run again without them, to compare."""

EVERY_SECOND = {
    "no probe": FORA(interval=2),
    "model input": RunCap(SeaCache(threshold=1e9), skips=1),
    "modulated input": RunCap(TeaCache(threshold=1e9), skips=1),
}
"""Methods that can decide before any block runs, by what they look at."""


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


class Control(nn.Module):
    """A block that hands a control stream on, and gives a hint: 10 times that stream."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = ToyAttention()

    def forward(self, hidden_states: Tensor, control: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
        control = self.attn(control) + temb
        return hidden_states * 0 + 10 * control, control


class Controlled(nn.Module):
    """Two control blocks run first; their hints are added after the first two of three main blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Adds(float(n + 1)) for n in range(3))
        self.control_blocks = nn.ModuleList(Control() for _ in range(2))

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        control, hints = temb, []
        for block in self.control_blocks:
            hint, control = block(hidden_states, control, temb)
            hints.append(hint)
        for block in self.blocks:
            hidden_states = block(hidden_states, temb)
            if hints:
                hidden_states = hidden_states + hints.pop(0)
        return hidden_states

    @property
    def control_calls(self) -> list[int]:
        return [block.attn.calls for block in self.control_blocks]


@pytest.mark.parametrize("looks_at", EVERY_SECOND)
def test_control_blocks_do_not_run_on_skipped_steps(looks_at: str) -> None:
    """The blocks add 1 + 2 + 3, the hints 10 * 2 and 10 * 3, of a ``temb`` of 1."""
    pipe = ToyPipeline(Controlled())
    with skipstone.attach(pipe, EVERY_SECOND[looks_at]) as cache:
        outputs = pipe(constant(6), steps=7)
    assert cache.last_run.strip == "#.#.#."
    assert pipe.transformer.control_calls == [3, 3]
    assert [block.attn.calls for block in pipe.transformer.blocks] == [3, 3, 3]
    assert all(torch.equal(output, torch.full((1, 4, 2), 57.0)) for output in outputs)
    assert cache.last_run.notes == ()


def test_the_gate_sees_the_same_probe_before_and_after_the_control_blocks() -> None:
    """The same decisions as on a model that has none, on latents that drift while the control does not."""
    method = TeaCache(threshold=0.25)
    inputs = [{**one, "temb": torch.ones(1, 4, 2)} for one in drifting(9, 0.1)]
    with skipstone.attach(plain := ToyPipeline(ToyModel()), method) as cache:
        plain(inputs)
    expected = cache.last_run.strip
    with skipstone.attach(pipe := ToyPipeline(Controlled()), method) as cache:
        pipe(inputs)
    assert cache.last_run.strip == expected
    assert "." in expected.strip("#")
    assert pipe.transformer.control_calls == [expected.count("#")] * 2


def test_a_gate_that_needs_a_block_finds_the_control_blocks_computed() -> None:
    pipe = ToyPipeline(Controlled())
    with skipstone.attach(pipe, FirstBlock(threshold=1e9)) as cache:
        outputs = pipe(constant(5))
    assert cache.last_run.strip == "#...."
    assert pipe.transformer.control_calls == [5 + CHECK] * 2
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert "Control does not change its main stream: it is computed on every step" in cache.last_run.notes[0]


class Refined(Controlled):
    """The same blocks before the stack, but what enters the stack depends on them, by a millionth."""

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        control = temb
        for block in self.control_blocks:
            _, control = block(hidden_states, control, temb)
        hidden_states = hidden_states + 1e-6 * control
        for block in self.blocks:
            hidden_states = block(hidden_states, temb)
        return hidden_states


@pytest.mark.parametrize("looks_at", EVERY_SECOND)
def test_blocks_that_matter_however_little_run_on_every_step(looks_at: str) -> None:
    pipe = ToyPipeline(Refined())
    bare = pipe(constant(6))[0]
    calls = pipe.transformer.control_calls
    with skipstone.attach(pipe, EVERY_SECOND[looks_at]) as cache:
        outputs = pipe(constant(6), steps=7)
    assert cache.last_run.strip == "#.#.#."
    assert [now - before for now, before in zip(pipe.transformer.control_calls, calls, strict=True)] == [7, 7]
    assert all(torch.equal(output, bare) for output in outputs)


def vace_calls(pipe: Any, method: Any, **kwargs: Any) -> tuple[Any, Any, int]:
    """The latents, the run's statistics, and how often the first control block was called."""
    calls: list[int] = []
    hook = pipe.pipe.transformer.vace_blocks[0].register_forward_hook(lambda *_: calls.append(1))
    with skipstone.attach(pipe.pipe, method) as cache:
        latents = pipe(**kwargs)
    hook.remove()
    return latents, cache.last_run, len(calls)


@pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.36"), reason="this diffusers has another VACE"
)
@pytest.mark.parametrize("method", [*EVERY_SECOND.values(), TeaCache(threshold=1e9, rescale="none")])
def test_vace_control_blocks_run_on_computed_steps_only(method: Any) -> None:
    pipe = PIPELINES["wan-vace"].make()
    _, run, calls = vace_calls(pipe, method)
    assert run.skipped > 0
    assert calls == run.computed
    assert run.notes == ()


@pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.36"), reason="this diffusers has another VACE"
)
def test_vace_without_its_control_blocks_is_what_it_is_with_them() -> None:
    """Where no probe counts as known before the model runs they are computed, and nothing else differs."""
    pipe = PIPELINES["wan-vace"].make()
    spared, _, few = vace_calls(pipe, FORA(interval=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skipstone.pipelines.evaluations.base.EARLY", ())
        computed, _, many = vace_calls(pipe, FORA(interval=2))
    assert few < many
    assert torch.equal(spared, computed)
