"""Streams of causal Wan models: the frames of a video of any length, chunk by chunk."""

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import skipstone
from skipstone.pipelines.causal.settings import CausalSettings
from support.streams import CAUSAL, TEXTS, footprint, stream, video
from support.tiny import wan

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

from recomputed import recomputed

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
