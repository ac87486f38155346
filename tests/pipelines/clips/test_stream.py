"""Streams of causal Wan models: the frames of a video of any length, chunk by chunk."""

import gc
import json
import sys
import threading
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers import WanPipeline
from torch import Tensor

import skipstone
from skipstone.pipelines.causal.settings import CausalSettings, settings_in
from support.tiny import flux, sd3, wan

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

from recomputed import recomputed

TINY = wan().kwargs
TEXTS = {name: TINY[name] for name in ("prompt_embeds", "negative_prompt_embeds")}
CAUSAL = {"chunk": 2, "window": 4, "sink": 1}
SIZE = {"height": 32, "width": 32, "guidance_scale": 4.0}


@pytest.fixture
def pipe() -> Any:
    return wan().pipe


def stream(pipe: Any, frames: int = 22, **others: Any) -> Generator[Tensor, None, None]:
    """Frames of a tiny model: 22 of them are 7 latent frames, so the last of 4 chunks is cut."""
    generator = torch.Generator().manual_seed(0)
    given = {**TEXTS, **CAUSAL, **SIZE, "steps": 2, "generator": generator, **others}
    return skipstone.stream(pipe, frames=frames, **given)


def video(pipe: Any, **others: Any) -> Tensor:
    return torch.cat(list(stream(pipe, **others)), dim=2)


def footprint(pipe: Any) -> Any:
    # diffusers keeps one when a branch is named for the first time.
    own = {"_diffusers_hook"}
    modules = [*pipe.transformer.modules(), *pipe.vae.modules()]
    parts = [(type(module), sorted(vars(module).keys() - own)) for module in modules]
    processors = [type(block.attn1.processor) for block in pipe.transformer.blocks]
    return type(pipe), parts, processors, type(pipe.scheduler).step, type(pipe.transformer.rope)


# What it makes


@pytest.mark.parametrize(
    "causal",
    [
        CAUSAL,
        {"chunk": 2},
        {"chunk": 3, "window": 3, "context_timestep": 20.0},
        {**CAUSAL, "context_timestep": 100.0, "context_noise": 0.1},
    ],
)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_frames_are_those_of_computing_everything_again(
    pipe: Any, causal: dict[str, Any], guidance: float
) -> None:
    pipe.transformer.double()
    pipe.vae.double()
    settings = CausalSettings(**causal)
    texts = [text.double() for text in TEXTS.values()][: 1 + (guidance > 1)]
    latents = recomputed(
        pipe, texts, list(settings.sizes(7)), settings, steps=2, guidance_scale=guidance, height=32, width=32,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    expected = pipe.vae.decode(latents, return_dict=False)[0][:, :, :22]
    none = dict.fromkeys(CAUSAL)
    found = video(pipe, **{**none, **causal}, guidance_scale=guidance)
    assert found.dtype is torch.float64
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-10


def test_frames_come_as_they_are_ready(pipe: Any) -> None:
    called: list[int] = []
    pipe.transformer.register_forward_pre_hook(lambda *_: called.append(1))
    seen = [(piece.shape[2], len(called)) for piece in stream(pipe)]
    # A chunk takes two steps of two branches and, but for the last, two commits, which are no calls.
    assert seen == [(1, 4), (4, 4), (4, 8), (4, 8), (4, 12), (4, 12), (1, 16)]


def test_a_batch_is_made_of_several_prompts(pipe: Any) -> None:
    both = {name: text.repeat(2, 1, 1) for name, text in TEXTS.items()}
    assert video(pipe, **both).shape == (2, 3, 22, 32, 32)


def test_each_video_of_a_batch_may_have_its_own_noise(pipe: Any) -> None:
    both = {name: text.repeat(2, 1, 1) for name, text in TEXTS.items()}
    pipe.transformer.double()
    pipe.vae.double()
    noises = [torch.Generator().manual_seed(seed) for seed in (1, 0)]
    made = video(pipe, **both, generator=noises, context_noise=0.1)
    assert torch.allclose(made[1:], video(pipe, context_noise=0.1), atol=1e-10)
    assert not torch.allclose(made[:1], made[1:], atol=1e-2)


def test_the_first_chunk_can_be_given(pipe: Any) -> None:
    # One latent frame, then six in three chunks of two: nothing is cut.
    assert [piece.shape[2] for piece in stream(pipe, first=1, frames=25)] == [1, 4, 4, 4, 4, 4, 4]
    assert next(stream(pipe, first=1, frames=1)).shape[2] == 1


def test_chunks_are_whole_and_the_first_may_have_another_size() -> None:
    assert list(CausalSettings(chunk=3, first=1).sizes(7)) == [1, 3, 3]
    assert list(CausalSettings(chunk=3).sizes(7)) == [3, 3, 3]


def test_memory_does_not_grow_with_the_video(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from skipstone.pipelines.causal.prefix import Prefix

    held: list[int] = []
    commit = Prefix.commit

    def noted(self: Prefix, *args: Any, **kwargs: Any) -> None:
        commit(self, *args, **kwargs)
        held.append(self.nbytes)

    monkeypatch.setattr(Prefix, "commit", noted)
    video(pipe, frames=60)
    # Two branches; the window is full after two chunks.
    assert len(held) == 14
    assert max(held[4:6]) == max(held[-2:])


def test_a_callback_can_stop_it(pipe: Any) -> None:
    def stop(pipe: Any, step: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
        pipe._interrupt = True
        return given

    frames = stream(pipe)
    assert sum(next(frames).shape[2] for _ in range(2)) == 5
    assert list(stream(pipe, callback_on_step_end=stop)) == []


# What it leaves


def test_the_pipeline_is_as_it_was_at_the_end(pipe: Any) -> None:
    before = footprint(pipe)
    video(pipe, cache=skipstone.FORA(interval=2))
    assert footprint(pipe) == before


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_closed_stream_leaves_nothing(pipe: Any, taken: int) -> None:
    before, frames = footprint(pipe), stream(pipe, cache="fora")
    for _ in range(taken):
        next(frames)
    frames.close()
    assert footprint(pipe) == before


def test_a_stream_that_is_given_up_leaves_nothing(pipe: Any) -> None:
    before, frames = footprint(pipe), stream(pipe, cache="fora")
    next(frames)
    gc.disable()
    try:
        del frames
        assert footprint(pipe) == before
    finally:
        gc.enable()


def test_an_error_within_a_chunk_leaves_nothing(pipe: Any) -> None:
    before, frames = footprint(pipe), stream(pipe, cache="fora")
    next(frames)
    next(frames)

    def fail(*_: Any) -> None:
        raise MemoryError

    hook = pipe.transformer.blocks[1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        next(frames)
    hook.remove()
    assert footprint(pipe) == before
    assert video(pipe).isfinite().all()


def test_nothing_keeps_a_pipeline_alive() -> None:
    pipe = wan().pipe
    video(pipe, frames=9, cache="fora")
    held = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert held() is None


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


# What tells the settings, and what is refused


def test_the_folder_of_a_pipeline_tells_them(pipe: Any, tmp_path: Path) -> None:
    expected = video(pipe)
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text(json.dumps(CAUSAL))
    none = dict.fromkeys(CAUSAL)
    assert torch.equal(video(pipe, **none), expected)
    assert not torch.equal(video(pipe, **{**none, "sink": 0}), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "should be an object"),
        ("null", "should be an object, got None"),
        ("3", "should be an object, got 3"),
        ("{}", "chunk field required"),
        ('{"chunk": 0}', "chunk should be greater than or equal to 1, got 0"),
        ('{"chunk": 2.0}', "chunk should be a valid integer, got 2.0"),
        ('{"chunk": 2, "windw": 3}', "windw extra inputs are not permitted"),
        ('{"chunk": 2, "self": 1}', "self extra inputs are not permitted"),
        ('{"chunk": 2, "chunk": 3}', "chunk is given twice"),
        ('{"chunk": 2, "sink": 3}', "a sink of 3 frames goes with a window"),
        ('{"chunk": 2, "context_timestep": 1e400}', "context_timestep should be a finite number"),
        ('{"chunk": 2, "window": 1}', "a window of at least one chunk of 2"),
    ],
)
def test_a_damaged_file_is_named(pipe: Any, tmp_path: Path, text: str, message: str) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text(text)
    with pytest.raises(ValueError, match=rf"causal.json' is damaged: .*{message}") as refused:
        skipstone.stream(pipe)
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_in_place_of_the_file_is_named(pipe: Any, tmp_path: Path) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").mkdir()
    with pytest.raises(ValueError, match=r"cannot read '.*causal.json': Is a directory"):
        skipstone.stream(pipe)


def test_a_mark_of_byte_order_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "causal.json").write_text('{"chunk": 2}', "utf-8-sig")
    assert settings_in(tmp_path) == CausalSettings(chunk=2)


def test_a_time_that_no_model_was_trained_at_is_refused(pipe: Any, tmp_path: Path) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text('{"chunk": 2, "context_timestep": 1001}')
    with pytest.raises(ValueError, match=r"context_timestep up to 1000, .* got 1001 in '.*causal.json'"):
        skipstone.stream(pipe)
    with pytest.raises(ValueError, match=r"context_timestep up to 1000, .* got 2000$"):
        stream(pipe, context_timestep=2000.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chunk": None}, "nothing says that this WanPipeline is causal: its folder has no causal.json"),
        ({"chunk": 0}, "chunk must be a whole number from 1"),
        ({"window": 1}, "a window of at least one chunk of 2 latent frames, got 1"),
        ({"sink": 4}, "a sink below the window of 4 frames, got 4"),
        ({"frames": 4}, "at least 5 frames, those of the first chunk, got 4"),
        ({"chunk": 20, "window": 20}, "at least 77 frames, those of the first chunk, got 22"),
        ({"frames": 0}, "frames must be"),
        ({"steps": 0}, "steps must be"),
        ({"height": 30}, "cannot make height 30"),
        ({"prompt_embeds": None}, "Provide either `prompt` or `prompt_embeds`"),
        ({"latents": 1, "num_frames": 3}, "a stream gives these itself: latents, num_frames"),
        (
            {"window": None, "sink": None, "frames": 400},
            "102 latent frames at once, in a window and a chunk, are more than the 32",
        ),
        ({"window": 31, "frames": 400}, "33 latent frames at once"),
        ({"cache": "fbi"}, "fbi"),
        ({"window": None}, "a sink of 1 frames goes with a window"),
        ({"guidance_scale_2": 3.0}, "`guidance_scale_2` is only supported"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(pipe: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(pipe, **given)


def test_an_argument_that_the_pipeline_does_not_have_is_refused(pipe: Any) -> None:
    with pytest.raises(TypeError, match="neither stream nor WanPipeline takes bar, foo: leave it out"):
        stream(pipe, foo=1, bar=2)


def test_a_vae_that_decodes_in_tiles_is_refused(pipe: Any) -> None:
    pipe.vae.enable_tiling()
    with pytest.raises(ValueError, match=r"disable_tiling\(\) first"):
        stream(pipe)


def test_a_vae_without_time_is_refused(pipe: Any) -> None:
    pipe.vae = flux().pipe.vae
    with pytest.raises(TypeError, match=r"expected an AutoencoderKLWan .*, got AutoencoderKL"):
        stream(pipe)


@pytest.mark.parametrize("other", [flux, sd3])
def test_other_pipelines_are_refused(other: Any) -> None:
    with pytest.raises(TypeError, match="expected a WanPipeline with a causal transformer, got"):
        stream(other().pipe)


def test_a_model_that_is_compiled_as_a_whole_is_refused(pipe: Any) -> None:
    pipe.transformer.compile(backend="eager")
    with pytest.raises(ValueError, match="compile its blocks instead"):
        next(stream(pipe))
