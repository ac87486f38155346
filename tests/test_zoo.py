"""Attach works on whatever transformer diffusers can run: one tiny model of every class, through one list."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone import Cacher, FirstBlock, TeaCache
from toy import ToyPipeline
from zoo import ZOO, classes, tensors

KNOWN_FAILURES: dict[str, str] = {}
"""Species that the engine does not get right yet: what fails and why."""

OFF = TeaCache(threshold=0.0)
LENIENT: dict[str, Cacher[Any]] = {
    "first-block": FirstBlock(threshold=1e9),
    "teacache": TeaCache(threshold=1e9, rescale="none"),
}

every_species = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=KNOWN_FAILURES[name], strict=True))
        if name in KNOWN_FAILURES
        else name
        for name in ZOO
    ],
)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def test_the_zoo_holds_every_class() -> None:
    assert {species.name for species in ZOO.values()} == set(classes())


@every_species
def test_gate_off_and_removal(name: str) -> None:
    species = ZOO[name]
    model = species.model()
    bare, before = run(model, species), footprint(model)
    pipe = ToyPipeline(model)
    with skipstone.attach(pipe, OFF):
        assert_same(run(model, species, pipe), bare)
    assert footprint(model) == before
    assert_same(run(model, species), bare)


@every_species
@pytest.mark.parametrize("method", LENIENT)
def test_skipping_a_replayed_input_equals_computing_it(name: str, method: str) -> None:
    species = ZOO[name]
    pipe = ToyPipeline(species.model())
    with skipstone.attach(pipe, LENIENT[method]) as cache:
        outputs = [list(tensors(output)) for output in pipe([species.call() for _ in range(5)], steps=6)]
    assert cache.last_run.strip.endswith("..."), str(cache.last_run)
    for output in outputs[1:]:
        assert_close(output, outputs[0])


@every_species
def test_branches_do_not_mix(name: str) -> None:
    species = ZOO[name]
    model = species.model()
    alone = [run(model, species, ToyPipeline(model), branch) for branch in (0, 1)]


def run(model, species, pipe=None, branch=0) -> list[Tensor]:
    if pipe is None:
        return list(tensors(model(**species.call(branch))))
    return list(tensors(pipe([species.call(branch)])[0]))


def assert_same(outputs, expected):
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))


def assert_close(outputs, expected):
    for output, wanted in zip(outputs, expected, strict=True):
        assert (output - wanted).norm() <= 1e-6 * wanted.norm()


def footprint(model: nn.Module) -> Any:
    modules = [
        (
            name,
            type(module),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            sorted(module.__dict__),
        )
        for name, module in model.named_modules()
    ]
    return modules, list(model.state_dict())
