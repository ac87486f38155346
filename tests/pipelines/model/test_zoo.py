"""Attach works on whatever transformer diffusers can run: a tiny model of every class through one list."""

from typing import Any

import pytest
import torch

import skipstone
from skipstone import Cacher, DiCache, EasyCache, FirstBlock, SeaCache, TeaCache
from support.toy import ToyPipeline
from support.zoo import CONTROLLED, ZOO, Made, Species, classes
from support.zoo_runs import assert_equal, footprint, run

KNOWN_FAILURES: dict[str, str] = {}
"""The species that the engine gets wrong: what fails and why. An entry whose test passes fails the suite."""

OFF = TeaCache(threshold=0.0)
LENIENT: dict[str, Cacher[Any]] = {
    "first-block": FirstBlock(threshold=1e9),
    "teacache": TeaCache(threshold=1e9, rescale="none"),
    "dicache": DiCache(threshold=1e9, warmup=0.0),
    "easycache": EasyCache(threshold=1e9, warmup=0),
    "seacache": SeaCache(threshold=1e9),
}


def _parameters(species: dict[str, Species]) -> list[Any]:
    marks = {name: pytest.mark.xfail(reason=reason, strict=True) for name, reason in KNOWN_FAILURES.items()}
    return [pytest.param(name, marks=marks[name]) if name in marks else name for name in species]


every_species = pytest.mark.parametrize("name", _parameters(ZOO))
every_method = pytest.mark.parametrize("method", LENIENT)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> object:
    """Models as small as these only lose time by sharing work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


def test_the_zoo_holds_every_class() -> None:
    assert {species.name for species in ZOO.values()} == set(classes())


@every_species
def test_gate_off_and_removal_change_nothing(name: str) -> None:
    species = ZOO[name]
    pipe = ToyPipeline(species.model())
    bare, before = run(pipe, species), footprint(pipe.transformer)
    with skipstone.attach(pipe, OFF) as cache:
        assert_equal(run(pipe, species), bare)
    assert cache.last_run.skipped == 0
    assert footprint(pipe.transformer) == before
    assert_equal(run(pipe, species), bare)


@every_method
@every_species
def test_skipping_a_replayed_input_equals_computing_it(name: str, method: str) -> None:
    assert_replays(ZOO[name], LENIENT[method])


@every_method
@pytest.mark.parametrize("name", CONTROLLED)
def test_terms_of_a_control_network_are_applied_once(name: str, method: str) -> None:
    assert_replays(CONTROLLED[name], LENIENT[method])


@every_species
def test_branches_do_not_mix(name: str) -> None:
    species = ZOO[name]
    model, method = species.model(), LENIENT["first-block"]
    alone = []
    for branch in (0, 1):
        with skipstone.attach(pipe := ToyPipeline(model), method):
            alone.append(run(pipe, species, branch))
    with skipstone.attach(pipe := ToyPipeline(model, branches=2), method):
        both = run(pipe, species, 0, 1)
    assert_equal(both[0::2], alone[0])
    assert_equal(both[1::2], alone[1])
    assert not torch.equal(alone[0][0][0], alone[1][0][0])


@pytest.mark.skipif("Kandinsky5Transformer3DModel" not in ZOO, reason="this diffusers has no Kandinsky 5")
def test_text_that_leads_in_is_computed_and_the_gate_comes_after_it() -> None:
    pipe = ToyPipeline(ZOO["Kandinsky5Transformer3DModel"].model())
    calls: list[str] = []
    for name in ("text_transformer_blocks", "visual_transformer_blocks"):
        for block in getattr(pipe.transformer, name):
            block.register_forward_hook(lambda *_, name=name: calls.append(name))
    with skipstone.attach(pipe, LENIENT["first-block"]):
        run(pipe, ZOO["Kandinsky5Transformer3DModel"], steps=3)
    assert calls[-2:] == ["text_transformer_blocks", "visual_transformer_blocks"]


def test_a_list_that_is_not_understood_is_computed_and_said_to_be() -> None:
    """One of its hints is added after the last block, so it is used on skipped steps."""
    pipe = ToyPipeline(ZOO["WanVACETransformer3DModel"].model())
    with skipstone.attach(pipe, LENIENT["teacache"]) as cache:
        run(pipe, ZOO["WanVACETransformer3DModel"])
    assert cache.last_run.skipped > 0
    assert "WanVACETransformerBlock" in cache.last_run.notes[0]


def test_a_model_that_changes_its_mode_in_mid_run_starts_anew() -> None:
    """The second step takes the text from the first one's keys and values, so its streams are shorter."""
    if "QwenImage21Transformer2DModel" not in ZOO:
        pytest.skip("this diffusers has no QwenImage21Transformer2DModel")
    species = ZOO["QwenImage21Transformer2DModel"]
    cache_of_text = Made("transformer_qwenimage21", "QwenImage21KVCache", 3).make()
    pipe = ToyPipeline(species.model())
    modes = ["extract", *["cached"] * 4]
    given = [{**species.call(), "kv_cache": cache_of_text, "kv_cache_mode": mode} for mode in modes]
    with skipstone.attach(pipe, LENIENT["first-block"]) as cache:
        _, computed, *skipped = (output[0] for output in pipe(given))
    assert cache.last_run.strip == "##..."
    assert all((output - computed).norm() <= 1e-6 * computed.norm() for output in skipped)


def assert_replays(species: Species, method: Cacher[Any]) -> None:
    """The same input again and again: after the first step, or the second, all is skipped and right."""
    pipe = ToyPipeline(species.model())
    with skipstone.attach(pipe, method) as cache:
        computed, *rest = run(pipe, species, steps=6)
    # A model that writes into its streams is computed once more, before that is known.
    assert cache.last_run.strip in ("#....", "##..."), str(cache.last_run)
    for outputs in rest:
        for output, wanted in zip(outputs, computed, strict=True):
            assert (output - wanted).norm() <= 1e-6 * wanted.norm()
