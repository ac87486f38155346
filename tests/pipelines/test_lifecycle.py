"""Nothing leaks from one run, one pipeline, or one thread into another."""

import threading
from itertools import pairwise
from typing import Any

import diffusers as d
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FirstBlock, TeaCache
from skipstone.pipelines.engine import Engine
from support import tiny
from support.tiny_pipelines import EVERY, PIPELINES, flux, guided, image, wan
from support.tiny_pipelines.parts import noise
from support.toy import ToyModel, ToyPipeline, constant

NEVER = TeaCache(threshold=1e9)
LENIENT = FirstBlock(threshold=1e9)


@pytest.fixture(scope="module")
def wan_pipe() -> tiny.Tiny:
    return PIPELINES["wan"].make()


def fresh(pipe: tiny.Tiny, **kwargs: Any) -> Tensor:
    """What a run gives right after attaching."""
    with skipstone.attach(pipe.pipe, NEVER):
        return pipe(**kwargs)


RUNS = {
    "resolutions": [{}, {"height": 48}, {"height": 32, "width": 48}, {}],
    "steps": [
        {"num_inference_steps": 1},
        {"num_inference_steps": 9},
        {"num_inference_steps": 4},
        {"num_inference_steps": 9},
    ],
    "prompts": [{}, {"prompt_embeds": noise(1, 6, 8, seed=5)}, {}],
    "seeds": [{}, {"generator": torch.Generator().manual_seed(5)}, {}],
    "guidance": [{}, {"guidance_scale": 1.0}, {}],
}


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_each_run_in_turn_equals_a_fresh_one(runs: list[dict[str, Any]], wan_pipe: tiny.Tiny) -> None:
    wanted = [fresh(wan_pipe, **reseeded(run)) for run in runs]
    with skipstone.attach(wan_pipe.pipe, NEVER) as cache:
        for run, expected in zip(runs, wanted, strict=True):
            assert torch.equal(wan_pipe(**reseeded(run)), expected)
            assert cache.last_run.skipped > 0 or run.get("num_inference_steps") == 1
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in pairwise(wanted))


def reseeded(run: dict[str, Any]) -> dict[str, Any]:
    """A run's arguments with its generator, if it has one, at the beginning."""
    if "generator" in run:
        run["generator"].manual_seed(5)
    return run


def interrupt(pipe: Any, index: int, *rest: Any) -> dict[str, Any]:
    pipe._interrupt = index == 2
    return {}


def fail(pipe: Any, index: int, *rest: Any) -> dict[str, Any]:
    if index == 2:
        raise RuntimeError("out of memory")
    return {}


@pytest.mark.parametrize("stop", [interrupt, fail])
def test_a_run_that_stopped_early_leaves_nothing_to_the_next(stop: Any, wan_pipe: tiny.Tiny) -> None:
    wanted = fresh(wan_pipe)
    with skipstone.attach(wan_pipe.pipe, NEVER) as cache:
        try:
            wan_pipe(callback_on_step_end=stop, guidance_scale=9.0)
        except RuntimeError:
            assert stop is fail
        assert (cache.last_run.steps, cache.last_run.planned_steps) == (3, 5)
        assert cache.last_run.bytes_held > 0
        assert all(engine.bytes_held == 0 for engine in cache._engines)
        assert torch.equal(wan_pipe(), wanted)


def test_removing_a_cache_in_mid_run_computes_the_rest(wan_pipe: tiny.Tiny) -> None:
    bare = wan_pipe()
    cache = skipstone.attach(wan_pipe.pipe, NEVER)

    def remove(pipe: Any, index: int, *rest: Any) -> dict[str, Any]:
        if index == 2:
            cache.remove()
        return {}

    wan_pipe(callback_on_step_end=remove)
    assert cache.last_run.strip == "#.."
    assert torch.equal(wan_pipe(), bare)


def classes_of(pipe: Any) -> list[type[Any]]:
    modules = [*pipe.transformer.modules(), *pipe.transformer_2.modules()]
    return [type(part) for part in (pipe, pipe.scheduler, *modules)]


def test_an_attach_that_failed_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two models refuses, when the first and the scheduler are wrapped already."""
    pipe = wan.two_experts()
    bare, parts = pipe(), (pipe.pipe.transformer, pipe.pipe.transformer_2)
    classes = classes_of(pipe.pipe)

    watch = Engine._watch_model

    def refuse(self: Engine) -> None:
        if self.model is parts[1]:
            raise MemoryError
        watch(self)

    monkeypatch.setattr(Engine, "_watch_model", refuse)
    with pytest.raises(MemoryError):
        skipstone.attach(pipe.pipe, NEVER)
    monkeypatch.undo()
    assert classes_of(pipe.pipe) == classes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    assert torch.equal(pipe(), bare)
    with skipstone.attach(pipe.pipe, NEVER) as cache:
        pipe()
    assert cache.last_run.skipped > 0


def test_two_experts_have_their_own_state_and_a_computed_hand_over() -> None:
    pipe = wan.two_experts()
    with skipstone.attach(pipe.pipe, LENIENT) as cache:
        pipe(num_inference_steps=8)
    run = cache.last_run
    hand_over = run.branches["transformer cond"]["computed"] + run.branches["transformer cond"]["skipped"]
    assert run.strip == f"#{'.' * (hand_over - 1)}#{'.' * (7 - hand_over)}"
    assert run.evaluations == sum(sum(counts.values()) for counts in run.branches.values()) == 16


def test_two_pipelines_over_one_transformer_in_turn() -> None:
    """Only the pipeline that a cache is attached to has it, also when the other one runs in between."""
    text = flux.true_guidance()
    images = tiny.Tiny(d.FluxImg2ImgPipeline.from_pipe(text.pipe), flux.image_to_image().kwargs)
    images.pipe.scheduler = d.FlowMatchEulerDiscreteScheduler()
    images.pipe.set_progress_bar_config(disable=True)
    bare, wanted = images(), fresh(text)
    with skipstone.attach(text.pipe, NEVER) as cache:
        for _ in range(2):
            assert torch.equal(text(), wanted)
            assert torch.equal(images(), bare)
    assert cache.last_run.skipped > 0


def test_another_pipeline_does_not_go_on_with_a_run_that_was_broken_off() -> None:
    text = flux.true_guidance()
    images = tiny.Tiny(d.FluxImg2ImgPipeline.from_pipe(text.pipe), flux.image_to_image().kwargs)
    images.pipe.scheduler = d.FlowMatchEulerDiscreteScheduler()
    images.pipe.set_progress_bar_config(disable=True)
    bare, wanted = images(), fresh(text)
    with skipstone.attach(text.pipe, NEVER) as cache:
        with pytest.raises(RuntimeError, match="out of memory"):
            text(callback_on_step_end=fail)
        assert torch.equal(images(), bare)
        assert cache.last_run.strip == "#.."
        assert "outside a run" in cache.last_run.notes[0]
        assert torch.equal(text(), wanted)


def test_two_pipelines_over_one_transformer_and_one_scheduler_in_turn() -> None:
    text = flux.true_guidance()
    images = tiny.Tiny(d.FluxImg2ImgPipeline.from_pipe(text.pipe), flux.image_to_image().kwargs)
    images.pipe.set_progress_bar_config(disable=True)
    of_text, of_images = fresh(text), fresh(images)
    with skipstone.attach(text.pipe, NEVER) as cache:
        for _ in range(2):
            assert torch.equal(text(), of_text)
            assert torch.equal(images(), of_images)
            assert cache.last_run.strip == "#..#"


def test_a_strength_of_three_tenths_counts_the_executed_steps() -> None:
    pipe = flux.image_to_image()
    with skipstone.attach(pipe.pipe, NEVER) as cache:
        pipe(strength=0.3, num_inference_steps=20)
    assert cache.last_run.planned_steps == 6
    assert cache.last_run.strip == "#....#"


GUIDERS = {
    "classifier-free": (d.ClassifierFreeGuidance(4.0), {"pred_cond": 8, "pred_uncond": 8}),
    "off": (d.ClassifierFreeGuidance(1.0), {"pred_cond": 8}),
    "interval": (d.ClassifierFreeGuidance(4.0, start=0.25, stop=0.75), {"pred_cond": 8, "pred_uncond": 4}),
}


@pytest.mark.skipif(not EVERY["hunyuan-video-15"].available, reason="this diffusers has no HunyuanVideo 1.5")
@pytest.mark.parametrize(("guider", "evaluations"), GUIDERS.values(), ids=GUIDERS)
def test_every_layout_of_a_guider(guider: Any, evaluations: dict[str, int]) -> None:
    pipe = guided.hunyuan_video_15(guider)
    bare = pipe(num_inference_steps=8)
    with skipstone.attach(pipe.pipe, TeaCache(threshold=0.0)) as cache:
        assert torch.equal(pipe(num_inference_steps=8), bare)
    assert {name: sum(n.values()) for name, n in cache.last_run.branches.items()} == {
        f"transformer {branch}": count for branch, count in evaluations.items()
    }
    with skipstone.attach(pipe.pipe, LENIENT) as cache:
        pipe(num_inference_steps=8)
    assert all(branch["computed"] == 1 for branch in cache.last_run.branches.values())


def test_a_step_without_its_skipped_layers_is_its_own_branch() -> None:
    pipe = image.sd3_skip_layer()
    with skipstone.attach(pipe.pipe, LENIENT) as cache:
        pipe(num_inference_steps=8)
    counts = cache.last_run.branches["transformer branch 1"]
    assert counts["computed"] == 1
    assert counts["skipped"] > 1


def test_two_threads_over_one_transformer_do_not_mix() -> None:
    """The pipeline with the cache skips; the other one computes, also when it is called in mid-evaluation."""
    model = ToyModel()
    cached, other = ToyPipeline(model), ToyPipeline(model)
    threes, seen = constant(4, 3.0), []

    def call_the_other(module: Any, args: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: seen.append(run(other, threes)))
            thread.start()
            thread.join()

    wanted, expected = run(other, threes), run(cached, constant(4))
    hook = model.blocks[1].register_forward_pre_hook(call_the_other)
    with skipstone.attach(cached, NEVER) as cache:
        outputs = run(cached, constant(4))
    hook.remove()
    assert cache.last_run.strip == "#..#"
    assert "outside a run" in cache.last_run.notes[0]
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
    assert len(seen) == 2
    assert all(torch.equal(a, b) for one in seen for a, b in zip(one, wanted, strict=True))


def run(pipe: ToyPipeline, inputs: Any) -> list[Tensor]:
    with torch.no_grad():
        return pipe(inputs)
