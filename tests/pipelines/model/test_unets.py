"""UNets: the whole output with any method that can, and the deep branch, against the same model uncached."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import Cacher, DeepCache, FirstBlock, RunCap, TeaCache
from skipstone.cachers.contract.words import Outcome, Site, Step
from support.toy import ToyModel, ToyPipeline
from support.unets import UNETS, made, run


@dataclass(frozen=True)
class Listening(DeepCache):
    """Notes what a computed step gave."""

    heard: list[Outcome] = field(default_factory=list)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: None) -> None:
        self.heard.append(outcome)


class ListeningAtOutput(Listening):
    site = Site.OUTPUT


OFF = TeaCache(threshold=0.0)
NEVER = TeaCache(threshold=1e9)
METHODS = {"teacache": NEVER, **{f"deepcache {depth}": DeepCache(1000, depth) for depth in range(3)}}
every_unet = pytest.mark.parametrize("name", UNETS)
every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


@every_method
@every_unet
def test_skipping_a_replayed_input_equals_computing_it(name: str, method: str) -> None:
    pipe = ToyPipeline(made(name))
    (bare,) = run(pipe, name, steps=2)
    with skipstone.attach(pipe, METHODS[method]) as cache:
        outputs = run(pipe, name)
    assert cache.last_run.strip == "#...."
    assert torch.equal(outputs[0], bare)
    for output in outputs:
        assert (output - bare).norm() <= 1e-6 * bare.norm()


@every_unet
def test_gate_off_and_removal_change_nothing(name: str) -> None:
    pipe = ToyPipeline(made(name))
    before = [(type(part), sorted(part.__dict__)) for part in pipe.transformer.modules()]
    bare = run(pipe, name)
    with skipstone.attach(pipe, OFF):
        assert all(torch.equal(a, b) for a, b in zip(run(pipe, name), bare, strict=True))
    with skipstone.attach(pipe, DeepCache(1000)):
        run(pipe, name)
    assert [(type(part), sorted(part.__dict__)) for part in pipe.transformer.modules()] == before
    assert all(torch.equal(a, b) for a, b in zip(run(pipe, name), bare, strict=True))


@every_method
@every_unet
def test_branches_do_not_mix(name: str, method: str) -> None:
    model, alone = made(name), []
    for branch in (0, 1):
        with skipstone.attach(pipe := ToyPipeline(model), METHODS[method]):
            alone.append(run(pipe, name, branch))
    with skipstone.attach(pipe := ToyPipeline(model, branches=2), METHODS[method]):
        both = run(pipe, name, 0, 1)
    for ours, theirs in zip((both[0::2], both[1::2]), alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])


@pytest.mark.parametrize(
    "method", [DeepCache(1000, 1), RunCap(DeepCache(1000, 1), 9)], ids=["bare", "wrapped"]
)
@every_unet
def test_the_outermost_layers_run_on_every_step_and_nothing_else_does(name: str, method: Cacher[Any]) -> None:
    pipe = ToyPipeline(made(name))
    calls: list[str] = []
    unet = pipe.transformer
    parts = {"down": unet.down_blocks[0].resnets[0], "mid": unet.mid_block, "out": unet.conv_out}
    parts |= {f"up {n}": resnet for n, resnet in enumerate(unet.up_blocks[-1].resnets)}
    for key, part in parts.items():
        part.register_forward_hook(lambda *_, key=key: calls.append(key))
    with skipstone.attach(pipe, method):
        run(pipe, name)
    assert calls[-4:] == ["down", "up 1", "up 2", "out"]
    assert calls.count("mid") == 1


@pytest.mark.parametrize("kind", [Listening, ListeningAtOutput])
def test_a_method_is_told_the_output_of_a_computed_step(kind: type[Listening]) -> None:
    name = next(iter(UNETS))
    pipe, listening = ToyPipeline(made(name)), kind(1000)
    bare = run(pipe, name)
    with skipstone.attach(pipe, listening):
        run(pipe, name)
    (outcome,) = listening.heard
    assert outcome.residual is None
    assert outcome.output is not None
    assert torch.equal(outcome.output, bare[0])


def test_what_cannot_work_is_refused_and_named() -> None:
    name = next(iter(UNETS))
    with pytest.raises(ValueError, match=r"first-block looks at first-block.*UNet2DConditionModel is a UNet"):
        skipstone.attach(ToyPipeline(made(name)), FirstBlock())
    with pytest.raises(
        ValueError, match="deepcache estimates the deep branch of a UNet, but ToyModel is not a UNet"
    ):
        skipstone.attach(ToyPipeline(ToyModel()), DeepCache(1000))
    with pytest.raises(ValueError, match=r"3 layers .* UNet2DConditionModel has 2; ask for at most"):
        skipstone.attach(ToyPipeline(made(name)), DeepCache(1000, 3))


def test_the_whole_output_is_said_to_be_estimated() -> None:
    name = next(iter(UNETS))
    with skipstone.attach(pipe := ToyPipeline(made(name)), NEVER) as cache:
        run(pipe, name)
    assert cache.last_run.notes == (
        "transformer: UNet2DConditionModel is a UNet, its blocks are no stack: the whole output is estimated "
        "instead, judged by the model's input",
    )


@pytest.mark.parametrize(("interval", "strip"), [(1, "#####"), (2, "#.#.#"), (3, "#..#.")])
def test_deepcache_computes_every_so_many_steps(interval: int, strip: str) -> None:
    name = next(iter(UNETS))
    pipe = ToyPipeline(made(name))
    with skipstone.attach(pipe, "deepcache", interval=interval) as cache:
        run(pipe, name)
    assert cache.last_run.strip == strip
