"""How blocks are skipped, on models whose right answers are known by arithmetic."""

import copy

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import FirstBlock, TeaCache
from skipstone.cachers import Probe, Reason, Step
from skipstone.pipelines.memory.snapshots import Snapshots
from support import tiny
from support.toy import AddsInPlace, ToyAttention, ToyModel, ToyPipeline, TwoLists, constant, drifting

NEVER = TeaCache(threshold=1e9)
CHECK = 1
"""Once a model's blocks are known, the first computed step is run again without them, to compare."""


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def test_a_skipped_step_adds_the_last_residual_to_its_own_input() -> None:
    """Three blocks add 1 + 2 + 3 times temb; then the input is 2 and the residual the first step's."""
    pipe = ToyPipeline(ToyModel(3))
    ones = torch.ones(1, 4, 2)
    inputs = [{"hidden_states": ones, "temb": ones}, {"hidden_states": 2 * ones, "temb": 5 * ones}]
    with skipstone.attach(pipe, NEVER):
        first, second = pipe(inputs, steps=3)
    assert torch.equal(first, 7 * ones)
    assert torch.equal(second, 8 * ones)


def test_skipped_blocks_do_not_run() -> None:
    model = ToyModel(3)
    pipe = ToyPipeline(model)
    with skipstone.attach(pipe, FirstBlock(threshold=1e9)):
        pipe(constant(5))
    assert model.block_calls == [5 + CHECK, 1, 1]


def test_first_block_keeps_what_the_first_block_adds_now() -> None:
    """On the second step the first block adds 5, and the others' 2 + 3 are reused: 2 + 5 + 5."""
    pipe = ToyPipeline(ToyModel(3))
    ones = torch.ones(1, 4, 2)
    inputs = [{"hidden_states": ones, "temb": ones}, {"hidden_states": 2 * ones, "temb": 5 * ones}]
    with skipstone.attach(pipe, FirstBlock(threshold=1e9)):
        _, second = pipe(inputs)
    assert torch.equal(second, 12 * ones)


def test_blocks_that_write_into_their_input_do_not_lose_the_residual() -> None:
    pipe = ToyPipeline(ToyModel(3, AddsInPlace))
    with skipstone.attach(pipe, NEVER) as cache:
        outputs = pipe(constant(6))
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    # The second step is computed too: the first one's residual was overwritten before it could be read.
    assert cache.last_run.strip == "##...#"


def test_blocks_that_write_into_their_input_under_inference_mode() -> None:
    with torch.inference_mode():
        pipe = ToyPipeline(ToyModel(3, AddsInPlace))
        with skipstone.attach(pipe, NEVER) as cache:
            outputs = pipe(constant(6))
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert cache.last_run.strip == "#....#"


def test_terms_injected_between_blocks_are_applied_once() -> None:
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, NEVER) as cache:
        outputs = pipe(constant(6), inject=torch.full((1, 4, 2), 10.0))
    assert cache.last_run.skipped == 4
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("method", [NEVER, FirstBlock(threshold=1e9)], ids=lambda method: method.name)
def test_two_lists_with_joined_streams(method: skipstone.Cacher) -> None:
    pipe = ToyPipeline(TwoLists())
    with skipstone.attach(pipe, method) as cache:
        outputs = pipe(constant(6))
    assert cache.last_run.skipped >= 4
    assert all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("inference", [False, True])
def test_terms_written_into_a_block_s_output_are_applied_once(inference: bool) -> None:
    class AddsLater(ToyModel):
        def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
            for block in self.blocks:
                hidden_states = block(hidden_states, temb)
                hidden_states[:, 1:] += 10
            return hidden_states

    with torch.inference_mode(inference):
        pipe = ToyPipeline(AddsLater())
        with skipstone.attach(pipe, NEVER) as cache:
            outputs = pipe(constant(6))
    assert cache.last_run.skipped >= 3
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_a_model_may_look_at_its_blocks_and_keep_them_anywhere() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.ModuleDict({"image": ToyModel().blocks})

        def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
            blocks = self.trunk["image"]
            assert isinstance(blocks[0].attn, ToyAttention)
            for block in blocks:
                hidden_states = block(hidden_states, temb * block.amount / block.amount)
            return hidden_states

    pipe = ToyPipeline(Nested())
    with skipstone.attach(pipe, NEVER) as cache:
        outputs = pipe(constant(6))
    assert cache.last_run.strip == "#....#"
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_lists_that_take_turns_are_skipped_as_one() -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space, self.time = ToyModel().blocks, ToyModel().blocks

        def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
            for space, time in zip(self.space, self.time, strict=True):
                hidden_states = space(hidden_states, temb).transpose(1, 2)
                hidden_states = time(hidden_states, temb.transpose(1, 2)).transpose(1, 2)
            return hidden_states

    pipe = ToyPipeline(Turns())
    with skipstone.attach(pipe, NEVER) as cache:
        outputs = pipe(constant(6))
    assert cache.last_run.strip == "#....#"
    assert [block.attn.calls for block in pipe.transformer.time] == [2, 2, 6 + CHECK]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_another_resolution_in_mid_run_is_another_trajectory() -> None:
    small = constant(3)
    large = [{name: tensor.repeat(1, 2, 1) for name, tensor in one.items()} for one in small]
    pipe = ToyPipeline(ToyModel())
    with skipstone.attach(pipe, NEVER) as cache:
        pipe([*small, *large, *small], steps=10)
    assert cache.last_run.strip == "#..#....."
    assert cache.last_run.reasons == {"first step": 1, "the inputs changed their shape": 1}


def test_deep_copy_of_an_attached_model_is_plain() -> None:
    """Also when it is called in the middle of the original's run."""
    pipe = ToyPipeline(ToyModel())
    ones = torch.ones(1, 4, 2)
    with skipstone.attach(pipe, NEVER) as cache:
        twin = copy.deepcopy(pipe.transformer)
        twin.blocks[0].amount.data.fill_(100.0)
        pipe.scheduler.set_timesteps(4)
        pipe.transformer(ones, ones)
        assert torch.equal(twin(ones, ones), 106 * ones)
    assert twin.block_calls == [1, 1, 1]
    assert cache.last_run.evaluations == 1


def test_an_evaluation_that_broke_half_way_teaches_nothing() -> None:
    """A caller may catch the error and call the model again within the same run."""
    pipe = ToyPipeline(ToyModel(3))
    ones = torch.ones(1, 4, 2)

    def fail(module: nn.Module, args: object) -> None:
        raise MemoryError

    with skipstone.attach(pipe, TeaCache(threshold=1e9, rescale="none")):
        pipe.scheduler.set_timesteps(9)
        hook = pipe.transformer.blocks[1].register_forward_pre_hook(fail)
        with pytest.raises(MemoryError):
            pipe.transformer(ones, ones)
        hook.remove()
        outputs = [pipe.transformer(ones, ones) for _ in range(3)]
    assert all(torch.equal(output, 7 * ones) for output in outputs)


@pytest.mark.parametrize(
    ("steps", "weights", "powers"), [([0, 1], (2.0, -1.0), 1), ([0, 1, 2], (3.0, -3.0, 1.0), 2)]
)
def test_an_estimate_is_the_weighted_sum_newest_first(
    steps: list[int], weights: tuple[float, ...], powers: int
) -> None:
    """The weights of linear and quadratic extrapolation are exact on a line and on a parabola."""
    snapshots = Snapshots(len(steps))
    for index in steps:
        value = torch.full((1, 2), 3.0 + 2.0 * float(index) ** powers)
        snapshots.push(Step(index, 10, 0.0), [{"hidden_states": value}])
    base = torch.ones(1, 2)
    estimate = snapshots.estimate(0, "hidden_states", base, weights)
    assert torch.equal(estimate, torch.full((1, 2), 1 + 3.0 + 2.0 * float(len(steps)) ** powers))
    assert torch.equal(base, torch.ones(1, 2))


def test_the_modulated_input_is_what_the_first_attention_is_given() -> None:
    pipe = tiny.wan()
    seen, probed = [], []
    attention = pipe.pipe.transformer.blocks[0].attn1

    class Spy(TeaCache):
        def reason_to_compute(self, probe: Tensor | None, step: Step, state: object) -> object:
            probed.append(probe)
            return super().reason_to_compute(probe, step, state)

    spy = Spy(threshold=0.0, rescale="none")
    assert spy.probe is Probe.MODULATED_INPUT
    with skipstone.attach(pipe.pipe, spy):
        hook = attention.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        pipe(num_inference_steps=2)
        hook.remove()
    # The hook sees each input twice: once while it is probed, once while the block is computed.
    assert len(probed) == 4
    assert all(torch.equal(probe, truth) for probe, truth in zip(probed, seen[1::2], strict=True))
    assert not torch.equal(probed[0], probed[2])


@pytest.mark.parametrize("method", [FirstBlock(threshold=1e9), NEVER], ids=lambda method: method.name)
def test_a_probe_that_cannot_be_read_computes_and_says_so(method: skipstone.Cacher) -> None:
    state = method.new_state()
    assert method.reason_to_compute(None, Step(3, 10, 0.0), state) is Reason.NO_PROBE


def test_blocks_taken_by_their_index_are_skipped_too() -> None:
    class ByIndex(ToyModel):
        def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
            for n in range(-len(self.blocks), 0):
                hidden_states = self.blocks[n](hidden_states, temb)
            return hidden_states

    model = ByIndex(3)
    pipe = ToyPipeline(model)
    with skipstone.attach(pipe, FirstBlock(threshold=1e9)):
        outputs = pipe(constant(5))
    assert model.block_calls == [5 + CHECK, 1, 1]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_bytes_held_is_one_residual_a_branch_and_is_freed() -> None:
    pipe = ToyPipeline(ToyModel(), branches=2)
    inputs = drifting(5)
    with skipstone.attach(pipe, "teacache") as cache:
        pipe([(one, one) for one in inputs])
        assert cache.last_run.bytes_held == 2 * inputs[0]["hidden_states"].nbytes
        assert all(engine.bytes_held == 0 for engine in cache._engines)
