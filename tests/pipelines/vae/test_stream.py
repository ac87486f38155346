"""A stream gives the frames of a video as they are ready, and keeps none of them."""

import threading
import weakref
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import accelerate
import pytest
import torch
from diffusers.video_processor import VideoProcessor
from torch import Tensor, nn

import skipstone
from skipstone.notice import Notice
from skipstone.pipelines.vae.chunked import Chunked
from skipstone.pipelines.vae.streamed_calls import StreamedCalls
from support.live_bytes import LiveBytes
from support.toy_vae import ToyAutoencoder
from support.vaes import BY_TRIAL, REFUSED, Make, cosmos, decoded, error, latents, ltx, made, mochi, wan

TRIED = pytest.mark.parametrize("make", BY_TRIAL.values(), ids=BY_TRIAL)


def within(make: Make) -> float:
    return 1e-5 if make is ltx else 1e-12


def streamed(vae: Any, video: Tensor, chunk: int | None = None) -> Tensor:
    return torch.cat(list(skipstone.stream_decode(vae, video, chunk)), dim=2)


@TRIED
def test_a_stream_is_the_whole_video_and_leaves_nothing(make: Make) -> None:
    vae = made(make)
    attributes = {name: set(part.__dict__) for name, part in vae.named_modules()}
    for video, chunk in ((latents(1), None), (latents(6), 2), (latents(6), None)):
        assert error(streamed(vae, video, chunk), decoded(vae, video)) <= within(make)
    assert {name: set(part.__dict__) for name, part in vae.named_modules()} == attributes


@pytest.mark.parametrize("make", [cosmos, mochi])
def test_the_first_frame_comes_after_one_latent_frame(make: Make) -> None:
    vae, video = made(make), latents(6)
    decoded_frames: list[int] = []
    list(skipstone.stream_decode(vae, video))
    hook = vae.decoder.register_forward_pre_hook(lambda _, args: decoded_frames.append(args[0].shape[2]))
    first = next(skipstone.stream_decode(vae, video))
    hook.remove()
    assert first.shape[2] == 1
    assert decoded_frames == [1]


@pytest.mark.parametrize("make", [cosmos, ltx, wan])
def test_frames_that_were_given_are_not_kept(make: Make) -> None:
    vae, video = made(make), latents(8)
    before = [weakref.ref(frames) for frames in islice(skipstone.stream_decode(vae, video, 1), 4)]
    assert not any(frames() is not None for frames in before)


@pytest.mark.parametrize("make", [mochi, ltx, wan])
def test_the_peak_of_memory_does_not_grow_with_the_video(make: Make) -> None:
    vae = made(make, torch.float32)

    def peak(frames: int) -> int:
        video = latents(frames, dtype=torch.float32)
        with LiveBytes() as live:
            for _ in skipstone.stream_decode(vae, video, 1):
                pass
        return live.peak

    with LiveBytes() as whole:
        decoded(vae, latents(16, dtype=torch.float32))
    peak(2)  # A size is compared with the whole once.
    assert peak(16) <= 1.1 * peak(8)
    assert peak(16) < whole.peak


def test_a_stream_that_is_given_up_leaves_nothing() -> None:
    vae, video = made(cosmos), latents(4)
    attributes = {name: set(part.__dict__) for name, part in vae.named_modules()}
    stream = skipstone.stream_decode(vae, video)
    next(stream)
    del stream
    assert {name: set(part.__dict__) for name, part in vae.named_modules()} == attributes


@pytest.mark.parametrize("make", [mochi, ltx])
def test_streams_take_turns_beside_a_handle_that_goes_in_the_middle(make: Make) -> None:
    vae, videos = made(make), [latents(5), -latents(5)]
    wanted = [decoded(vae, video) for video in videos]
    pieces: list[list[Tensor]] = [[], []]
    handle = skipstone.decode_in_chunks(vae, chunk=2)
    for both in zip(*(skipstone.stream_decode(vae, video, 1) for video in videos), strict=True):
        for kept, piece in zip(pieces, both, strict=True):
            kept.append(piece)
        assert error(decoded(vae, videos[0]), wanted[0]) <= within(make)
        handle.remove()
    for kept, whole in zip(pieces, wanted, strict=True):
        assert error(torch.cat(kept, dim=2), whole) <= within(make)
    assert "forward" not in vae.decoder.__dict__


def test_a_stream_that_is_collected_while_another_begins_does_not_stop_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae, other, video = made(cosmos), made(cosmos), latents(3)
    whole, given_up = decoded(other, video), skipstone.stream_decode(vae, video, 1)
    next(given_up)

    def collecting(decoder: Any, units: Any) -> Chunked:
        given_up.close()
        return Chunked(decoder, units)

    monkeypatch.setattr("skipstone.pipelines.vae.chunked.Chunked", collecting)
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(streamed(other, video, 1)), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert error(found[0], whole) <= 1e-12
    assert "forward" not in vae.decoder.__dict__


def test_a_stream_ends_after_the_note_of_its_decoder_as_when_python_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = ToyAutoencoder()
    stream = skipstone.stream_decode(vae, latents(3), 1)
    next(stream)
    monkeypatch.setattr("skipstone.pipelines.vae.chunked._installed", weakref.WeakKeyDictionary())
    stream.close()
    assert "forward" not in vae.decoder.__dict__
    assert type(vae.decoder) is nn.Sequential


def _tiles(vae: Any) -> None:
    sizes = {f"tile_sample_min_{side}": 4 * vae.spatial_compression_ratio for side in ("height", "width")}
    strides = {name.replace("min", "stride"): size // 2 for name, size in sizes.items()}
    vae.enable_tiling(**sizes, **strides)


@pytest.mark.parametrize(
    ("make", "before", "change"),
    [
        (ltx, lambda vae: None, _tiles),
        (mochi, lambda vae: None, _tiles),
        (mochi, _tiles, lambda vae: vae.disable_tiling()),
        (ltx, lambda vae: None, lambda vae: vae.enable_slicing()),
        (cosmos, lambda vae: None, lambda vae: vae.enable_slicing()),
        (cosmos, lambda vae: vae.enable_slicing(), lambda vae: vae.disable_slicing()),
    ],
)
def test_tiling_or_slicing_that_changes_in_a_stream_is_refused(
    make: Make, before: Callable[[Any], None], change: Callable[[Any], None]
) -> None:
    vae = made(make)
    before(vae)
    stream = skipstone.stream_decode(vae, latents(5, batch=2, edge=6), 1)
    next(stream)
    change(vae)
    with pytest.raises(RuntimeError, match="tiling or slicing was changed while a video is streamed"):
        list(stream)


def test_a_stream_of_tiles_is_the_tiles() -> None:
    vae, video = made(mochi), latents(4, edge=4)
    sizes = {f"tile_sample_min_{side}": 8 for side in ("height", "width")}
    vae.enable_tiling(**sizes, **{name.replace("min", "stride"): 8 for name in sizes})
    tiled = decoded(vae, video)
    assert error(streamed(vae, video, 1), tiled) <= 1e-12


def test_a_stream_of_a_sliced_batch_is_the_batch() -> None:
    vae, video = made(cosmos), latents(4, batch=2)
    whole = decoded(vae, video)
    vae.enable_slicing()
    assert error(streamed(vae, video, 1), whole) <= 1e-12


@pytest.mark.parametrize("make", [cosmos, wan])
def test_weights_that_are_moved_for_each_call_are_there(make: Make) -> None:
    vae, video = made(make), latents(3)
    whole = decoded(vae, video)
    _, hook = accelerate.cpu_offload_with_hook(vae, torch.device("cpu"))
    with patch.object(vae._hf_hook, "pre_forward", wraps=vae._hf_hook.pre_forward) as moved:
        assert error(streamed(vae, video), whole) <= 1e-12
    moved.assert_called()
    hook.remove()


def test_other_arguments_of_decode_are_passed_on() -> None:
    vae, video = made(lambda: ltx(timestep_conditioning=True)), latents(3)
    moment = torch.tensor([0.5], dtype=torch.float64)
    whole = decoded(vae, video, temb=moment)
    frames = torch.cat(list(skipstone.stream_decode(vae, video, 1, temb=moment)), dim=2)
    assert error(frames, whole) <= 1e-5


def test_a_pipeline_s_frames_go_elsewhere_and_it_returns_the_last_ones() -> None:
    vae, video = (
        made(lambda: ltx(timestep_conditioning=True), torch.float32),
        latents(3, 2, dtype=torch.float32),
    )
    pipe = SimpleNamespace(vae=vae, video_processor=VideoProcessor())
    moment = torch.tensor([0.05, 0.5])
    whole = pipe.video_processor.postprocess_video(decoded(vae, video, temb=moment), output_type="pt")[0]
    taken: list[Tensor] = []
    with StreamedCalls(pipe, 1, lambda: taken.append):
        for _ in range(2):  # As a pipeline does: the time by its place.
            last = vae.decode(video, moment, return_dict=False)[0]
    first, second = torch.cat(taken, dim=0).chunk(2)
    assert error(first, whole.permute(0, 2, 3, 1)) <= 1e-5
    assert torch.equal(first, second)
    assert last.shape[2] < len(first)
    assert "decode" not in vae.__dict__


def test_a_pipeline_without_a_video_processor_is_refused() -> None:
    with pytest.raises(ValueError, match="SimpleNamespace has no video processor"):
        StreamedCalls(SimpleNamespace(vae=made(cosmos)), None, lambda: lambda frames: None)


def test_no_gradients_are_kept() -> None:
    (frames,) = islice(skipstone.stream_decode(made(cosmos), latents(3).requires_grad_()), 1)
    assert not frames.requires_grad
    assert torch.is_grad_enabled()


def _tiled(vae: Any) -> Any:
    vae.enable_tiling()
    return vae


def _framewise(vae: Any) -> Any:
    vae.use_framewise_decoding = True
    return vae


@pytest.mark.parametrize(
    ("make", "why"),
    [
        *[(make, r"\(GroupNorm\) depend on all of them") for make in REFUSED.values()],
        (lambda: _tiled(ltx()), "slices and tiles of a decoder that looks ahead"),
        (lambda: _framewise(ltx()), "blends tiles over time"),
        (lambda: _tiled(wan()), "tiles are decoded as written"),
    ],
)
def test_what_cannot_be_streamed_comes_in_one_piece(make: Make, why: str) -> None:
    vae, video = made(make), latents(5)
    whole = decoded(vae, video)
    with pytest.warns(Notice, match=why):
        (frames,) = skipstone.stream_decode(vae, video)
    assert torch.equal(frames, whole)


@pytest.mark.parametrize(
    ("video", "chunk", "message"),
    [
        (torch.zeros(1, 4, 3, 3), None, r"latents must be \(batch, channels, frames, height, width\), got"),
        (latents(3), 4, "chunk must be at most the 3 latent frames that there are, got 4"),
        (latents(3), 0, "chunk must be"),
    ],
)
def test_bad_input_is_refused_in_one_line_at_once(video: Tensor, chunk: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        skipstone.stream_decode(made(cosmos), video, chunk)
    assert "\n" not in str(refused.value)
