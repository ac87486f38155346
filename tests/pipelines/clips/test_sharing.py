"""Who else uses the pipeline of a stream, and caches within its chunks."""

import threading
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers import WanPipeline
from torch import Tensor

import skipstone
from support.streams import SIZE, TEXTS, footprint, stream, video
from support.tiny import wan

# Who else uses the pipeline


@pytest.mark.parametrize("cache", [None, "fora"])
def test_the_pipeline_can_be_called_between_frames(pipe: Any, cache: str | None) -> None:
    run = wan()
    expected, plain = video(pipe, steps=6, cache=cache), run()
    frames, made = stream(pipe, steps=6, cache=cache), []
    for piece in frames:
        made.append(piece)
        again = type(run)(pipe, run.kwargs)()
        assert torch.equal(again, plain)
    assert torch.equal(torch.cat(made, dim=2), expected)


def test_streams_of_one_pipeline_do_not_mix(pipe: Any) -> None:
    expected = [video(pipe, guidance_scale=scale) for scale in (4.0, 2.0)]
    streams = [stream(pipe, guidance_scale=scale) for scale in (4.0, 2.0)]
    pairs = list(zip(*streams, strict=True))
    for made, right in zip(zip(*pairs, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(made, dim=2), right)


@pytest.mark.parametrize("caches", [("fora", None), (None, "fora"), ("fora", "teacache")])
def test_a_cache_acts_in_its_own_stream_alone(pipe: Any, caches: tuple[str | None, str | None]) -> None:
    before = footprint(pipe)
    expected = [video(pipe, steps=6, cache=cache) for cache in caches]
    assert not torch.equal(*expected)
    pairs = list(zip(*(stream(pipe, steps=6, cache=cache) for cache in caches), strict=True))
    for made, right in zip(zip(*pairs, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(made, dim=2), right)
    assert footprint(pipe) == before


@pytest.mark.parametrize("shared", ["scheduler", "transformer"])
def test_streams_of_pipelines_that_share_a_part_take_turns(pipe: Any, shared: str) -> None:
    """A cache is on the model, and the scheduler is at one step: no other stream may come between."""
    parts = dict(pipe.components)
    if shared == "transformer":
        parts["scheduler"] = type(pipe.scheduler).from_config(pipe.scheduler.config)
    else:
        parts["transformer"] = wan().pipe.transformer
    other = WanPipeline(**parts)
    other.set_progress_bar_config(disable=True)
    expected, order = video(other, frames=5), []
    reached, waits = threading.Event(), threading.Event()

    def hold(pipe: Any, step: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
        reached.set()
        waits.wait(0.2)
        order.append("first")
        return given

    first = threading.Thread(target=lambda: video(pipe, frames=5, cache="fora", callback_on_step_end=hold))
    first.start()
    assert reached.wait(60)
    assert torch.equal(video(other, frames=5), expected)
    order.append("second")
    first.join()
    assert order == ["first", "first", "second"]


def test_a_callback_cannot_ask_for_a_chunk_of_another_stream(pipe: Any) -> None:
    before, expected, other = footprint(pipe), video(pipe), stream(pipe)

    def ask(pipe: Any, step: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
        next(other)
        return given

    with pytest.raises(RuntimeError, match="Scheduler is in the middle of a chunk"):
        next(stream(pipe, callback_on_step_end=ask))
    assert footprint(pipe) == before
    assert torch.equal(video(pipe), expected)


@pytest.mark.parametrize("cache", [None, "fora"])
def test_streams_in_two_threads_do_not_mix(pipe: Any, cache: str | None) -> None:
    expected = {scale: video(pipe, guidance_scale=scale, cache=cache) for scale in (4.0, 2.0)}
    made: dict[float, Tensor] = {}

    def run(scale: float) -> None:
        made[scale] = video(pipe, guidance_scale=scale, cache=cache)

    before = footprint(pipe)
    threads = [threading.Thread(target=run, args=(scale,)) for scale in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(made[scale], right) for scale, right in expected.items())
    assert footprint(pipe) == before


def test_streams_in_threads_share_a_cache(pipe: Any) -> None:
    expected, made = video(pipe, cache=skipstone.FORA(interval=2)), []
    with skipstone.attach(pipe, "fora", interval=2):
        threads = [threading.Thread(target=lambda: made.append(video(pipe))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [torch.equal(one, expected) for one in made] == [True, True]


def test_models_may_be_offloaded_between_chunks(pipe: Any) -> None:
    expected = video(pipe)
    for model in (pipe.transformer, pipe.vae):
        accelerate.cpu_offload(model, torch.device("cpu"))
    assert torch.equal(video(pipe), expected)


def test_a_model_that_is_block_causal_has_no_streams_and_the_other_way_round(pipe: Any) -> None:
    with (
        skipstone.block_causal(pipe),
        pytest.raises(ValueError, match=r"block-causal already; remove\(\) that"),
    ):
        next(stream(pipe))
    frames = stream(pipe)
    next(frames)
    with pytest.raises(ValueError, match=r"makes a stream; close\(\) that first"):
        skipstone.block_causal(pipe)


# Caches within the chunks


def test_a_cache_that_computes_everything_changes_nothing(pipe: Any) -> None:
    assert torch.equal(video(pipe, cache=skipstone.TeaCache(threshold=0.0)), video(pipe))


def test_each_chunk_is_a_run_of_its_own(pipe: Any) -> None:
    plain, strips = video(pipe, steps=6), []
    with skipstone.attach(pipe, "fora", interval=2) as cache:
        for _ in stream(pipe, steps=6):
            strips.append(cache.last_run.strip)
    assert strips == ["#.#.#."] * 7
    assert not cache.last_run.notes
    by_itself = video(pipe, steps=6, cache=skipstone.FORA(interval=2))
    assert not torch.equal(by_itself, plain)


def test_nothing_of_a_chunk_is_reused_in_the_next(pipe: Any) -> None:
    """A chunk of a stream with a cache is that of a stream whose former chunks were made so without one."""
    reused = video(pipe, steps=6, cache=skipstone.FORA(interval=2))
    attached = skipstone.attach(pipe, "fora", interval=2)
    pieces = []
    for number, piece in enumerate(stream(pipe, steps=6)):
        pieces.append(piece)
        if number % 2:
            # Another cache begins each chunk, which knows nothing of the former ones.
            attached.remove()
            attached = skipstone.attach(pipe, "fora", interval=2)
    attached.remove()
    assert torch.equal(torch.cat(pieces, dim=2), reused)


def test_the_first_chunk_can_be_recorded_and_the_others_be_planned(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path)
    strips = []
    with skipstone.attach(pipe, speedup=1.5) as cache:
        for _ in stream(pipe, steps=12, frames=13):
            strips.append(cache.last_run.strip)
    assert strips[0] == "#" * 12
    assert "." in strips[-1]
    assert cache.last_run.computed < cache.last_run.evaluations


def test_a_plan_of_the_first_chunk_is_followed_in_all(pipe: Any) -> None:
    own = {**TEXTS, **SIZE, "num_frames": 5, "num_inference_steps": 12, "output_type": "latent"}
    plan = skipstone.record(pipe, **own).plan(computed=6)
    strips = []
    with skipstone.attach(pipe, plan) as cache:
        for _ in stream(pipe, steps=12):
            strips.append(cache.last_run.strip)
    assert strips == [plan.strip] * 7


def test_a_plan_of_a_later_chunk_is_followed_in_all(pipe: Any) -> None:
    own = {**TEXTS, **SIZE, "num_frames": 5, "num_inference_steps": 12, "output_type": "latent"}
    with skipstone.block_causal(pipe, window=4, sink=1) as prefix:
        first = pipe(**own).frames
        for name, text in zip(("cond", "uncond"), TEXTS.values(), strict=True):
            with pipe.transformer.cache_context(name):
                prefix.commit(first, 0, text)
        plan = skipstone.record(pipe, **own).plan(computed=6)
    with skipstone.attach(pipe, plan) as cache:
        strips = {cache.last_run.strip for _ in stream(pipe, steps=12)}
    assert strips == {plan.strip}


def test_a_second_cache_is_refused(pipe: Any) -> None:
    with skipstone.attach(pipe, "fora"), pytest.raises(ValueError, match="has a cache already"):
        next(stream(pipe, cache="teacache"))


def test_compiled_blocks_stay_compiled(pipe: Any) -> None:
    short = {"frames": 13, "steps": 1, "guidance_scale": 1.0}
    expected = video(pipe, **short)
    pipe.transformer.blocks[1].compile(backend="eager")
    assert torch.allclose(video(pipe, **short), expected, atol=1e-5)
