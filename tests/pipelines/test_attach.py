"""What attach accepts, what it refuses and how it says so, and what a handle tells."""

import gc
import json
import weakref
from typing import Any

import pytest
import torch

import skipstone
from skipstone import FirstBlock, TeaCache
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant, drifting


@pytest.mark.parametrize(
    ("method", "settings", "error", "says"),
    [
        ("teecache", {}, ValueError, "unknown method 'teecache'.*first-block.*teacache"),
        (
            "teacache",
            {"treshold": 0.1},
            TypeError,
            "no hyper-parameter 'treshold'.*it has: threshold, rescale",
        ),
        ("teacache", {"threshold": -1.0}, ValueError, "finite number >= 0 or None, got -1.0"),
        ("teacache", {"threshold": float("nan")}, ValueError, "finite number >= 0 or None, got nan"),
        ("first-block", {"threshold": float("inf")}, ValueError, "finite number >= 0, got inf"),
        (
            "teacache",
            {"rescale": "wan"},
            ValueError,
            "unknown rescale 'wan'.*'auto', 'retention', 'none'.*wan2.1-t2v-1.3b",
        ),
        (TeaCache(), {"threshold": 0.1}, TypeError, "where the TeaCache is made"),
    ],
)
def test_bad_methods_are_named(method: Any, settings: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        skipstone.attach(ToyPipeline(ToyModel()), method, **settings)


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a diffusers pipeline.*got ToyModel"):
        skipstone.attach(ToyModel(), "teacache")


def test_a_second_cache_on_a_model_is_refused_until_the_first_is_removed() -> None:
    model = ToyModel()
    cache = skipstone.attach(ToyPipeline(model), "teacache")
    with pytest.raises(ValueError, match=r"has a cache already \(teacache .*remove\(\) it first"):
        skipstone.attach(ToyPipeline(model), "first-block")
    cache.remove()
    cache.remove()
    skipstone.attach(ToyPipeline(model), "first-block").remove()


def test_a_lost_cache_is_detached() -> None:
    pipe = ToyPipeline(ToyModel())
    bare = torch.stack(pipe(drifting(6)))
    skipstone.attach(pipe, "fora", interval=3)
    gc.collect()
    assert not torch.equal(torch.stack(pipe(drifting(6))), bare)
    skipstone.detach(pipe)
    assert (type(pipe), type(pipe.transformer)) == (ToyPipeline, ToyModel)
    assert torch.equal(torch.stack(pipe(drifting(6))), bare)
    skipstone.detach(pipe)


def test_a_cache_is_detached_by_way_of_any_pipeline_with_its_model() -> None:
    model = ToyModel()
    pipes = [ToyPipeline(model), ToyPipeline(model)]
    skipstone.attach(pipes[0], "fora")
    skipstone.detach(pipes[1])
    assert (type(pipes[0]), type(model)) == (ToyPipeline, ToyModel)


def test_what_is_no_pipeline_has_nothing_to_detach() -> None:
    with pytest.raises(TypeError, match=r"expected a diffusers pipeline.*got ToyModel"):
        skipstone.detach(ToyModel())


def test_a_cache_is_replaced() -> None:
    pipe = ToyPipeline(ToyModel())
    old = skipstone.attach(pipe, "fora")
    new = skipstone.attach(pipe, "first-block", replace=True)
    old.remove()
    pipe(drifting(6))
    assert new.last_run.computed > 0
    new.remove()
    assert (type(pipe), type(pipe.transformer)) == (ToyPipeline, ToyModel)


def test_a_cache_that_cannot_be_replaced_stays() -> None:
    pipe = ToyPipeline(ToyModel())
    with skipstone.attach(pipe, "fora") as cache:
        with pytest.raises(ValueError, match="ToyModel has none"):
            skipstone.attach(pipe, "teacache", rescale="wan2.1-t2v-1.3b", replace=True)
        pipe(drifting(6))
    assert cache.last_run.skipped > 0


def test_an_attached_pipeline_that_nobody_holds_is_collected() -> None:
    pipe = ToyPipeline(ToyModel())
    skipstone.attach(pipe, "fora")
    pipe(drifting(6))
    model = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert model() is None


def test_a_refused_attach_leaves_nothing_behind() -> None:
    pipe = ToyPipeline(ToyModel())
    before = type(pipe.transformer), type(pipe.scheduler), type(pipe.transformer.blocks)
    with pytest.raises(ValueError, match="time embedding, but ToyModel has none"):
        skipstone.attach(pipe, "teacache", rescale="wan2.1-t2v-1.3b")
    assert (type(pipe.transformer), type(pipe.scheduler), type(pipe.transformer.blocks)) == before
    skipstone.attach(pipe, "teacache").remove()


def test_one_method_object_serves_two_pipelines_at_once() -> None:
    method = FirstBlock(threshold=1e9)
    pipes = ToyPipeline(ToyModel()), ToyPipeline(ToyModel())
    caches = [skipstone.attach(pipe, method) for pipe in pipes]
    pipes[0](constant(4))
    assert caches[0].last_run.skipped == 3
    assert caches[1].last_run.evaluations == 0


def test_the_state_dict_of_an_attached_model_is_its_own() -> None:
    pipe = tiny.flux().pipe
    keys = list(pipe.transformer.state_dict())
    with skipstone.attach(pipe, "teacache"):
        assert list(pipe.transformer.state_dict()) == keys
        assert len(pipe.transformer.transformer_blocks[0:1]) == 1
        assert isinstance(pipe.transformer.transformer_blocks[0], torch.nn.Module)


def test_statistics_count_every_branch_and_survive_removal() -> None:
    pipe = tiny.wan()
    with skipstone.attach(pipe.pipe, TeaCache(threshold=1e9)) as cache:
        assert str(cache.last_run).endswith("no run yet")
        pipe()
    run = cache.last_run
    assert (run.steps, run.planned_steps, run.skipped_steps) == (8, 8, 6)
    assert (run.evaluations, run.computed, run.skipped) == (16, 4, 12)
    assert run.branches == {
        "transformer cond": {"computed": 2, "skipped": 6},
        "transformer uncond": {"computed": 2, "skipped": 6},
    }
    assert run.reasons == {"first step": 2, "last step": 2}
    assert str(run).startswith("6 of 8 steps skipped, ")
    assert json.loads(json.dumps(run.as_dict()))["strip"] == "#......#"


def test_zero_skips_come_with_the_reason() -> None:
    pipe = ToyPipeline(ToyModel())
    with skipstone.attach(pipe, "first-block", threshold=0.01) as cache:
        pipe(drifting(5, 0.5))
    assert "nothing was skipped: first step (1), the change reached the threshold (4)" in str(cache.last_run)
    assert cache.last_run.speedup is None


def test_watchers_are_told_after_each_step() -> None:
    pipe = ToyPipeline(ToyModel(), branches=2)
    told: list[tuple[int, int, int]] = []
    with skipstone.attach(pipe, TeaCache(threshold=1e9)) as cache:
        cache.watch(lambda step, computed, skipped: told.append((step.index, computed, skipped)))
        pipe([(one, one) for one in constant(4)])
    assert told == [(0, 2, 0), (1, 0, 2), (2, 0, 2), (3, 2, 0)]
