"""Layers and single blocks that are skipped on their own, while the rest of the model runs."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import Cacher, RunCap, Taylor, Warmup, WithPredictor
from skipstone.cachers.contract.words import ATTENTION, Layer, LayerKind, Outcome, Probe, Step
from support import tiny
from support.layer_fora import BLOCK, FEED_FORWARD, LayerFORA
from support.toy import Adds, AddsInPlace, ToyAttention, ToyModel, ToyPipeline, constant, drifting
from support.unets import UNETS, made
from support.unets import run as run_unet
from support.zoo import ZOO
from support.zoo_runs import assert_equal, footprint, run


@dataclass(frozen=True)
class Listening(LayerFORA):
    """Notes which layers there are, and what they gave."""

    layers: list[Layer] = field(default_factory=list)
    heard: list[Outcome] = field(default_factory=list)

    def for_layer(self, layer: Layer) -> Cacher[None] | None:
        self.layers.append(layer)
        return super().for_layer(layer)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: None) -> None:
        self.heard.append(outcome)


class DoublingAttention(ToyAttention):
    """Attention that returns twice its input."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return 2 * super().forward(hidden_states)


class AddsDouble(Adds):
    """A block that adds ``amount * temb`` to twice its input."""

    def __init__(self, amount: float) -> None:
        super().__init__(amount)
        self.attn = DoublingAttention()


class WritesIntoLayer(Adds):
    """A block that writes into what its attention returned."""

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        attended = self.attn(hidden_states.clone())
        attended += self.amount * temb
        return attended


KINDS = {"attention": ATTENTION, "feed-forward": FEED_FORWARD, "block": BLOCK}
WITHOUT_FEED_FORWARD = {
    "MiniMaxMusic3RVQDepthDecoder",
    "MiniMaxMusic3Transformer1DModel",
    "PRXTransformer2DModel",
    "RFD4ProteinaTransformer",
    "T5FilmDecoder",
}
"""The species whose feed-forwards are no modules of their own, or have no usual name."""
every_kind = pytest.mark.parametrize("kind", KINDS)
every_species = pytest.mark.parametrize("name", ZOO)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


@every_kind
@every_species
def test_skipping_a_replayed_input_equals_computing_it(name: str, kind: str) -> None:
    species, method = ZOO[name], LayerFORA(1000, KINDS[kind])
    pipe = ToyPipeline(species.model())
    if kind == "feed-forward" and name in WITHOUT_FEED_FORWARD:
        with pytest.raises(ValueError, match=rf"\(feed forward\), but no such layers are known in {name}"):
            skipstone.attach(pipe, method)
        return
    # Every step has the same input: one call shows what the bare model gives.
    before, bare = footprint(pipe.transformer), run(pipe, species, steps=2)
    with skipstone.attach(pipe, method) as cache:
        computed, *rest = run(pipe, species)
    assert cache.last_run.strip == "#++++"
    for outputs in rest:
        for output, wanted in zip(outputs, computed, strict=True):
            assert (output - wanted).norm() <= 1e-6 * wanted.norm()
    assert footprint(pipe.transformer) == before
    assert_equal(run(pipe, species, steps=2), bare)


@every_kind
@pytest.mark.parametrize("name", UNETS)
def test_the_layers_of_a_unet_are_skipped(name: str, kind: str) -> None:
    pipe = ToyPipeline(made(name))
    (bare,) = run_unet(pipe, name, steps=2)
    with skipstone.attach(pipe, LayerFORA(1000, KINDS[kind])) as cache:
        outputs = run_unet(pipe, name)
    assert cache.last_run.strip == "#++++"
    assert torch.equal(outputs[0], bare)
    for output in outputs:
        # A skipped block rounds its residual once more than a computed one, and some UNets have dozens.
        assert (output - bare).norm() <= 2e-6 * bare.norm()


@pytest.mark.parametrize(
    "name", ["WanTransformer3DModel", "FluxTransformer2DModel", "MochiTransformer3DModel"]
)
@every_kind
def test_branches_do_not_mix(name: str, kind: str) -> None:
    species, method = ZOO[name], LayerFORA(3, KINDS[kind])
    model, alone = species.model(), []
    for branch in (0, 1):
        with skipstone.attach(pipe := ToyPipeline(model), method):
            alone.append(run(pipe, species, branch))
    with skipstone.attach(pipe := ToyPipeline(model, branches=2), method):
        both = run(pipe, species, 0, 1)
    assert_equal(both[0::2], alone[0])
    assert_equal(both[1::2], alone[1])


LAYERS = {
    "WanTransformer3DModel": {"attn1": "self", "attn2": "cross", "ffn": "feed"},
    "FluxTransformer2DModel": {"attn": "self", "ff": "feed", "ff_context": "feed"},
    "CogVideoXTransformer3DModel": {"attn1": "self", "ff": "feed"},
    "HunyuanVideoTransformer3DModel": {"attn": "self", "ff": "feed", "ff_context": "feed"},
    "QwenImageTransformer2DModel": {"attn": "self", "img_mlp": "feed", "txt_mlp": "feed"},
    "SD3Transformer2DModel": {"attn": "self", "ff": "feed", "ff_context": "feed"},
    "MochiTransformer3DModel": {"attn1": "self", "ff": "feed", "ff_context": "feed"},
    "LTXVideoTransformer3DModel": {"attn1": "self", "attn2": "cross", "ff": "feed"},
    "PRXTransformer2DModel": {"attention": "self"},
}
"""Names of layers in a block, and what kind they are."""


@pytest.mark.parametrize("name", [name for name in LAYERS if name in ZOO])
def test_layers_are_known_for_what_they_do(name: str) -> None:
    listening = Listening(kinds=ATTENTION | FEED_FORWARD)
    with skipstone.attach(pipe := ToyPipeline(ZOO[name].model()), listening):
        run(pipe, ZOO[name], steps=2)
    found = {layer.name.rsplit(".", 1)[1]: layer.kind.value.split()[0] for layer in listening.layers}
    assert found == LAYERS[name]


def test_what_attends_along_time_is_told_apart() -> None:
    listening = Listening()
    with skipstone.attach(pipe := ToyPipeline(ZOO["LatteTransformer3DModel"].model()), listening):
        run(pipe, ZOO["LatteTransformer3DModel"], steps=2)
    temporal = {layer.name for layer in listening.layers if layer.kind is LayerKind.TEMPORAL_ATTENTION}
    assert temporal == {f"temporal_transformer_blocks.{n}.attn1" for n in range(2)}


def test_a_layer_is_told_its_block() -> None:
    listening = Listening(kinds=ATTENTION | BLOCK)
    with skipstone.attach(pipe := ToyPipeline(ToyModel()), listening):
        pipe(constant(3))
    attentions = [layer for layer in listening.layers if layer.kind is LayerKind.SELF_ATTENTION]
    assert attentions == [Layer(LayerKind.SELF_ATTENTION, f"blocks.{n}.attn", n, 3) for n in range(3)]
    assert [layer.name for layer in listening.layers if layer.kind is LayerKind.BLOCK] == [
        f"blocks.{n}" for n in range(3)
    ]


def test_attention_is_reused_while_the_rest_of_the_block_runs() -> None:
    """One block: twice the input as of the last computed step, and ``temb`` as of this one."""
    pipe = ToyPipeline(ToyModel(1, AddsDouble))
    with skipstone.attach(pipe, LayerFORA(2)) as cache:
        outputs = pipe(drifting(4, 0.5))
    assert [output.unique().item() for output in outputs] == [
        2 * 1.0 + 1.0,
        2 * 1.0 + 1.5,
        2 * 2.0 + 2.0,
        2 * 2.0 + 2.5,
    ]
    assert pipe.transformer.block_calls == [2]
    assert cache.last_run.strip == "#+#+"


def test_a_skipped_block_adds_what_it_added() -> None:
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, LayerFORA(2, BLOCK)):
        outputs = pipe(drifting(4, 0.5))
    assert [output.unique().item() for output in outputs] == [7.0, 1.5 + 6 * 1.0, 14.0, 2.5 + 6 * 2.0]
    assert pipe.transformer.block_calls == [2, 2, 2]


@dataclass(frozen=True)
class MiddleBlock(LayerFORA):
    """Skips the middle one of three blocks."""

    def for_layer(self, layer: Layer) -> Cacher[None] | None:
        return super().for_layer(layer) if layer.block == 1 else None


def test_a_method_may_take_some_layers_and_leave_others() -> None:
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, MiddleBlock(4, BLOCK)) as cache:
        outputs = pipe(drifting(4, 0.5))
    assert [o.unique().item() for o in outputs] == [7.0, 1.5 * 5 + 2, 2.0 * 5 + 2, 2.5 * 5 + 2]
    assert pipe.transformer.block_calls == [4, 1, 4]
    assert cache.last_run.parts == {"block": {"computed": 1, "skipped": 3}}


@pytest.mark.parametrize("kinds", [ATTENTION, BLOCK], ids=["attention", "block"])
@pytest.mark.parametrize("block", [AddsInPlace, WritesIntoLayer])
def test_blocks_may_write_into_what_they_are_given_and_get(block: Any, kinds: frozenset[LayerKind]) -> None:
    pipe = ToyPipeline(ToyModel(3, block))
    bare = [output.clone() for output in pipe(constant(5))]
    with skipstone.attach(pipe, LayerFORA(4, kinds)) as cache:
        outputs = pipe(constant(5))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(outputs, bare, strict=True))
    assert cache.last_run.strip.endswith("++#")


def test_a_predictor_goes_with_every_layer() -> None:
    pipe = ToyPipeline(ToyModel(1, AddsDouble))
    with skipstone.attach(pipe, Warmup(WithPredictor(LayerFORA(1000), Taylor(order=1)), 2)) as cache:
        outputs = pipe(drifting(5, 0.5))
    assert [output.unique().item() for output in outputs] == [3 * (1 + 0.5 * n) for n in range(5)]
    assert cache.last_run.strip == "##+++"


def test_wrappers_keep_a_state_for_each_layer() -> None:
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, RunCap(LayerFORA(1000), 2)) as cache:
        pipe(constant(7))
    assert cache.last_run.strip == "#++#++#"


def test_the_statistics_call_no_step_skipped_and_count_the_layers() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, LayerFORA(4, ATTENTION)) as cache:
        pipe()
    run = cache.last_run
    assert (run.skipped, run.skipped_steps, run.computed) == (0, 0, 16)
    assert run.parts == {
        "cross attention": {"computed": 2 * 2 * 3, "skipped": 6 * 2 * 3},
        "self attention": {"computed": 2 * 2 * 3, "skipped": 6 * 2 * 3},
    }
    assert run.reasons == {"its turn in the interval": 4, "only parts of it could be skipped": 12}
    assert "0 of 8 steps skipped, 36 of 48 cross attention calls, 36 of 48 self attention calls" in str(run)
    assert "nothing was skipped" not in str(run)
    assert run.speedup is not None


def test_a_watcher_is_told_of_steps_that_are_skipped_in_part() -> None:
    told: list[tuple[int, int]] = []
    with skipstone.attach(pipe := ToyPipeline(ToyModel()), LayerFORA(2)) as cache:
        cache.watch(lambda step, computed, skipped: told.append((computed, skipped)))
        pipe(constant(3))
    assert told == [(1, 0), (1, 1), (1, 0)]


@pytest.mark.parametrize(("kinds", "tensors"), [(ATTENTION, 6), (FEED_FORWARD, 3), (BLOCK, 3)])
def test_memory_is_counted_and_given_back(kinds: frozenset[LayerKind], tensors: int) -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, LayerFORA(4, kinds)) as cache:
        pipe()
        tokens, dim, branches, bytes_each = 2 * 2 * 2, 24, 2, 4
        assert cache.last_run.bytes_held == tensors * branches * tokens * dim * bytes_each
        assert all(engine.bytes_held == 0 for engine in cache._engines)


def test_a_method_hears_what_each_layer_gave() -> None:
    listening = Listening(1, ATTENTION | BLOCK)
    with skipstone.attach(pipe := ToyPipeline(ToyModel(2, AddsDouble)), listening):
        pipe(constant(1), steps=2)
    heard = [outcome.residual.unique().item() for outcome in listening.heard if outcome.residual is not None]
    assert heard == [2.0, 2.0, 6.0, 5.0]


class Plain(nn.Module):
    """Has no blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.layer(hidden_states)


def test_a_model_without_such_layers_is_refused() -> None:
    says = (
        r"fora skips layers within blocks \(cross attention, self attention, temporal attention\), but no "
        "such layers are known in Plain; choose a method that skips whole steps, such as teacache"
    )
    with pytest.raises(ValueError, match=says):
        skipstone.attach(ToyPipeline(Plain()), LayerFORA())


def test_a_kind_that_a_model_does_not_have_is_noted() -> None:
    with skipstone.attach(pipe := ToyPipeline(ToyModel()), LayerFORA(2)) as cache:
        pipe(constant(4))
    assert cache.last_run.notes == ("transformer: it has no cross attention, so none of that is skipped",)


class Idle(ToyModel):
    """Never calls its blocks."""

    def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
        return hidden_states + temb


def test_layers_that_are_never_called_are_noted() -> None:
    with skipstone.attach(pipe := ToyPipeline(Idle()), LayerFORA(2)) as cache:
        pipe(constant(4))
    assert cache.last_run.strip == "####"
    assert "transformer: it called no layer that fora skips" in cache.last_run.notes


class Looking(LayerFORA):
    probe = Probe.FIRST_BLOCK


def test_a_method_that_looks_at_the_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="looks at first-block, which layers are not given"):
        skipstone.attach(ToyPipeline(ToyModel()), Looking())
