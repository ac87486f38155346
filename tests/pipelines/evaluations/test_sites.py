"""Models that skipstone has never seen: at their stack where it is understood, else at the whole output."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import FirstBlock, TeaCache
from skipstone.pipelines.model.outputs import floats_in, hollow, refilled
from support.toy import AddsInPlace, ToyAttention, ToyModel, ToyPipeline, constant, drifting

NEVER = TeaCache(threshold=1e9)
BY_HEAD = FirstBlock(threshold=1e9)
both = pytest.mark.parametrize("method", [NEVER, BY_HEAD], ids=lambda method: method.name)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


class Layer(nn.Module):
    """A block of unfamiliar names, which returns the text before the picture and a weight beside them."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.mixing_attention = ToyAttention()

    def forward(self, *, words: Tensor, pixels: Tensor, warmth: Tensor) -> Any:
        return words + self.amount, self.mixing_attention(pixels) + self.amount * warmth, None


class Stranger(nn.Module):
    """Keeps its blocks in an unusual place and under unusual names."""

    def __init__(self) -> None:
        super().__init__()
        self.engine_room = nn.Module()
        self.engine_room.machines = nn.ModuleList(Layer(float(n + 1)) for n in range(3))

    def forward(self, picture: Tensor, heat: Tensor) -> dict[str, Tensor]:
        words = picture[:, :1] * 2
        for machine in self.engine_room.machines:
            words, picture, _ = machine(warmth=heat, pixels=picture, words=words)
        return {"picture": picture * words.mean(), "words": words}


@both
def test_a_model_never_seen_is_skipped_at_its_stack(method: skipstone.Cacher) -> None:
    pipe = ToyPipeline(Stranger())
    given = [{"picture": torch.arange(8.0).view(1, 4, 2), "heat": torch.ones(1, 1, 2)}] * 5
    with skipstone.attach(pipe, method) as cache:
        outputs = pipe(given, steps=6)
    assert cache.last_run.strip == "#...."
    assert cache.last_run.notes == ()
    for output in outputs:
        assert all(torch.equal(output[name], outputs[0][name]) for name in ("picture", "words"))


class Pools(nn.Module):
    """A block whose output continues none of its inputs."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.attn = ToyAttention()

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        return self.attn(hidden_states).mean()


class Collects(ToyModel):
    """Looks at what every block returns, as models with aggregated features do."""

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        seen = []
        for block in self.blocks:
            hidden_states = block(hidden_states, temb)
            seen.append(hidden_states)
        return torch.stack(seen).mean(0)


class Apart(nn.Module):
    """Picture and sound, each through a list of its own, in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.sound = ToyModel().blocks, ToyModel().blocks

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Any:
        sound = hidden_states[:, :1]
        for picture_block, sound_block in zip(self.picture, self.sound, strict=True):
            hidden_states = picture_block(hidden_states, temb)
            sound = sound_block(sound, temb[:, :1])
        return hidden_states, sound


class Plain(nn.Module):
    """Has no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Linear(2, 2)

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        return self.layers(hidden_states + temb)


FALLS_BACK = {
    "no block list": (Plain, r"Plain has no list of attention blocks among its modules \(layers\)"),
    "unknown outputs": (lambda: ToyModel(1, Pools), r"Pools returns a tensor \(\) that continues none"),
    "collected outputs": (Collects, "Collects does more with its blocks than run them in turn"),
    "streams apart": (Apart, "Apart does more with its blocks than run them in turn"),
}


@pytest.mark.parametrize("name", FALLS_BACK)
def test_a_stack_that_is_not_understood_falls_back_to_the_whole_output(name: str) -> None:
    make, says = FALLS_BACK[name]
    pipe = ToyPipeline(make())
    calls = []
    with skipstone.attach(pipe, NEVER) as cache:
        first = pipe(constant(6))
        pipe.transformer.register_forward_hook(lambda *_: calls.append(1))
        outputs = pipe(constant(6))
    assert cache.last_run.strip == "#....#"
    assert len(calls) == 2
    for output in (*first, *outputs):
        pairs = zip(floats_in(output), floats_in(first[0]), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    (note,) = cache.last_run.notes
    assert note.startswith("transformer: ")
    assert note.endswith("the whole output is estimated instead, judged by the model's input")
    assert re.search(says, note)


@pytest.mark.parametrize("name", ["unknown outputs", "streams apart"])
def test_a_method_that_needs_blocks_computes_a_stack_that_is_not_understood(name: str) -> None:
    make, says = FALLS_BACK[name]
    pipe = ToyPipeline(make())
    with skipstone.attach(pipe, BY_HEAD) as cache:
        pipe(constant(4))
    assert re.search(says, cache.last_run.notes[0])
    assert cache.last_run.reasons == {"the block stack is not understood": 4}


def test_a_method_that_needs_blocks_is_refused_where_there_are_none() -> None:
    with pytest.raises(ValueError, match=r"first-block looks at first-block.*no list of attention blocks"):
        skipstone.attach(ToyPipeline(Plain()), BY_HEAD)


def test_the_check_of_the_stack_is_made_once_for_each_layout() -> None:
    model = ToyModel()
    pipe = ToyPipeline(model)
    with skipstone.attach(pipe, BY_HEAD):
        for _ in range(3):
            pipe(constant(5))
    assert model.block_calls == [15 + 1, 3, 3]


def test_gate_decisions_at_the_whole_output_follow_the_models_input() -> None:
    pipe = ToyPipeline(Plain())
    with skipstone.attach(pipe, TeaCache(threshold=0.25)) as cache:
        pipe(drifting(8, 0.1))
    # The input is 1.0, 1.1, ...; its relative changes 0.1, 0.091, 0.083 add up to 0.274 on the fourth step.
    assert cache.last_run.strip == "#..#...#"


def test_what_is_handed_out_at_the_whole_output_may_be_written_into() -> None:
    pipe = ToyPipeline(Plain())
    with skipstone.attach(pipe, NEVER):
        outputs = []
        pipe.scheduler.set_timesteps(5)
        for t in pipe.scheduler.timesteps:
            output = pipe.transformer(**constant(1)[0])
            outputs.append(output.clone())
            output.zero_()
            pipe.scheduler.step(torch.zeros(1), t, torch.zeros(1))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@dataclass
class Answer:
    sample: Tensor
    more: Any = None


def test_an_output_of_any_structure_is_rebuilt_around_other_tensors() -> None:
    whole = torch.tensor([1, 2])
    output = [Answer(torch.ones(2, 3), {"a": (torch.ones(1), whole, "x")}), None]
    empty = hollow(output)
    assert [tensor.shape for tensor in floats_in(empty)] == [(2, 3), (1,)]
    assert all(tensor.untyped_storage().nbytes() <= 8 for tensor in floats_in(empty))
    again = refilled(empty, [torch.full((2, 3), 5.0), torch.full((1,), 6.0)])
    assert torch.equal(again[0].sample, torch.full((2, 3), 5.0))
    assert again[0].more["a"][0] == 6.0
    assert again[0].more["a"][1:] == (whole, "x")
    assert again[1] is None


def test_blocks_that_write_into_their_input_are_probed_without_harm() -> None:
    """Reading the modulated input runs the block's beginning, which must not write into the model's."""
    bare = ToyModel(3, AddsInPlace)(**constant(1)[0])
    pipe = ToyPipeline(ToyModel(3, AddsInPlace))
    with skipstone.attach(pipe, TeaCache(threshold=0.0)):
        outputs = pipe(constant(4))
    assert all(torch.equal(output, bare) for output in outputs)
