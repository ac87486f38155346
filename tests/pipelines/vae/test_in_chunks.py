"""Videos decoded in chunks are those decoded whole, in memory that does not grow with their length."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import accelerate
import diffusers
import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone.notice import Notice
from support.toy_vae import Causal, ToyAutoencoder
from support.vaes import (
    BY_TRIAL,
    REFUSED,
    Make,
    cosmos,
    decoded,
    error,
    hunyuan_15,
    latents,
    ltx,
    made,
    mochi,
)

needs_hunyuan = pytest.mark.skipif(
    not hasattr(diffusers, "AutoencoderKLHunyuanVideo15"), reason="this diffusers does not have it"
)


def within(make: Make, dtype: torch.dtype = torch.float64) -> float:
    """The largest error of chunks: the norms of LTX 0.9 compute in float32 whatever is asked for."""
    return 1e-12 if dtype is torch.float64 and make is not ltx else 1e-5


@pytest.mark.parametrize("make", BY_TRIAL.values(), ids=BY_TRIAL)
def test_chunks_give_the_whole_and_leave_nothing(make: Make) -> None:
    vae, videos = made(make), [latents(frames) for frames in (1, 2, 5)]
    attributes = {name: set(part.__dict__) for name, part in vae.named_modules()}
    wanted = [decoded(vae, video) for video in videos]
    with skipstone.decode_in_chunks(SimpleNamespace(vae=vae), chunk=1) as handle:
        for video, whole in zip(videos, wanted, strict=True):
            assert error(decoded(vae, video), whole) <= within(make)
        assert handle.last_call == skipstone.ChunkStats(5)
        pair = torch.cat([videos[2], videos[2].flip(2)])
        vae.enable_slicing()
        assert error(decoded(vae, pair)[:1], wanted[2]) <= within(make)
    assert torch.equal(decoded(vae, videos[2]), wanted[2])
    assert {name: set(part.__dict__) for name, part in vae.named_modules()} == attributes


@pytest.mark.parametrize("make", BY_TRIAL.values(), ids=BY_TRIAL)
def test_chunks_of_any_size_give_the_whole_in_float32(make: Make) -> None:
    vae = made(make, torch.float32)
    video = latents(14, dtype=torch.float32)
    whole = decoded(vae, video)
    for chunk, chunks in ((None, 8), (3, 5), (7, 2)):
        with skipstone.decode_in_chunks(vae, chunk) as handle:
            assert error(decoded(vae, video), whole) <= within(make, torch.float32)
            assert handle.last_call == skipstone.ChunkStats(chunks)


@pytest.mark.parametrize("make", [make for make in BY_TRIAL.values() if make is not hunyuan_15])
def test_a_batch_is_decoded_in_chunks(make: Make) -> None:
    # HunyuanVideo 1.5 decodes no batch: its mask does not fit.
    vae, video = made(make), latents(4, batch=2)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=2):
        assert error(decoded(vae, video), whole) <= within(make)


@pytest.mark.parametrize(
    ("make", "step", "edge"),
    [pytest.param(hunyuan_15, 2, 8, marks=needs_hunyuan), (cosmos, 4, 16), (ltx, 4, 32)],
)
def test_videos_are_encoded_in_chunks_as_if_whole(make: Make, step: int, edge: int) -> None:
    vae = made(make)
    noise = torch.Generator().manual_seed(0)
    video = torch.randn(1, 3, 1 + 4 * step, edge, edge, generator=noise, dtype=torch.float64)
    with torch.no_grad():
        whole = vae.encode(video, return_dict=False)[0].mode()
        for chunk, chunks in ((1, 5), (3, 2)):
            with skipstone.encode_in_chunks(vae, chunk=chunk) as handle:
                assert error(vae.encode(video, return_dict=False)[0].mode(), whole) <= within(make)
                assert handle.last_call == skipstone.ChunkStats(chunks)


@torch.no_grad()
def test_a_video_that_ends_within_a_latent_frame_is_encoded_whole() -> None:
    vae, video = made(cosmos), torch.ones(1, 3, 8, 16, 16, dtype=torch.float64)
    whole = vae.encode(video, return_dict=False)[0].mode()
    with skipstone.encode_in_chunks(vae) as handle:
        assert torch.equal(vae.encode(video, return_dict=False)[0].mode(), whole)
    assert str(handle.last_call) == "whole: its 8 frames are not one more than a multiple of 4"


@pytest.mark.parametrize("make", [mochi, ltx])
def test_tiles_in_chunks_are_the_tiles(make: Make) -> None:
    vae, video = made(make), latents(4, edge=6)
    edge = vae.spatial_compression_ratio * 4
    sizes = {f"tile_sample_min_{side}": edge for side in ("height", "width")}
    vae.enable_tiling(**sizes, **{name.replace("min", "stride"): edge // 2 for name in sizes})
    tiled = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=3) as handle:
        assert error(decoded(vae, video), tiled) <= within(make)
        assert handle.last_call == skipstone.ChunkStats(2)
    vae.disable_tiling()
    assert error(decoded(vae, video), tiled) > 0.01


def test_a_video_that_is_no_longer_than_a_chunk_is_decoded_whole() -> None:
    vae, video = made(cosmos), latents(3)
    with skipstone.decode_in_chunks(vae, chunk=3) as handle:
        decoded(vae, video)
    assert str(handle.last_call) == "whole: it has no more frames than a chunk"


def test_a_decoder_that_needs_the_time_gets_it() -> None:
    vae, video = made(lambda: ltx(timestep_conditioning=True)), latents(3)
    moment = torch.tensor([0.05], dtype=torch.float64)
    whole = decoded(vae, video, temb=moment)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, video, temb=moment), whole) <= within(ltx)
        assert handle.last_call == skipstone.ChunkStats(3)


def test_a_decoder_that_draws_noise_is_decoded_whole() -> None:
    vae, video = made(lambda: ltx(decoder_inject_noise=(True, False, False, False))), latents(3)
    with pytest.warns(Notice, match="draws random numbers"):
        handle = skipstone.decode_in_chunks(vae, chunk=1)
    with handle:
        decoded(vae, video)
    assert handle.last_call is not None
    assert handle.last_call.why_whole == "it draws random numbers for each chunk"


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_decoder_with_norms_over_time_is_named_and_decodes_as_before(make: Make) -> None:
    vae, video = made(make), latents(5)
    whole = decoded(vae, video)
    with pytest.warns(Notice, match=r"norm\w* \(GroupNorm\) depend on all of them at once"):
        handle = skipstone.decode_in_chunks(vae)
    with handle:
        assert torch.equal(decoded(vae, video), whole)
        assert handle.last_call is not None
        assert "GroupNorm" in str(handle.last_call)
    assert not vae.decoder._forward_pre_hooks


@pytest.mark.parametrize("make", [cosmos, ltx])
def test_the_largest_tensor_does_not_grow_with_the_video(make: Make) -> None:
    vae = made(make)

    def largest(frames: int) -> int:
        sizes: list[int] = []

        def look(module: nn.Module, args: Any) -> None:
            sizes.extend(one.numel() for one in args if isinstance(one, Tensor) and module is not vae.decoder)

        hooks = [part.register_forward_pre_hook(look) for part in vae.decoder.modules()]
        decoded(vae, latents(frames))
        for hook in hooks:
            hook.remove()
        return max(sizes)

    whole = largest(20)
    with skipstone.decode_in_chunks(vae, chunk=1):
        decoded(vae, latents(2))
        assert largest(10) == largest(20) < whole / 4


@pytest.mark.parametrize("make", [cosmos, ltx])
def test_threads_and_failures_do_not_mix_videos(make: Make) -> None:
    vae, videos = made(make), [latents(4), -latents(4)]
    wanted = [decoded(vae, video) for video in videos]
    found: dict[int, Tensor] = {}
    with skipstone.decode_in_chunks(vae, chunk=1):
        decoded(vae, videos[0])
        with pytest.raises(RuntimeError):
            decoded(vae, torch.zeros(1, 4, 4, 3, 3))  # of another type than the weights
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: decoded(vae, videos[n])})) for n in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(error(found[n], wanted[n]) <= within(make) for n in (0, 1))


class Late(nn.Module):
    """A decoder that is causal on small videos only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, video: Tensor) -> Tensor:
        return self.weight * (video - video.mean(2, keepdim=True) if video.shape[3] > 4 else video)


def test_a_size_at_which_chunks_are_wrong_is_decoded_whole() -> None:
    vae, video = ToyAutoencoder(Late()), latents(4, edge=6)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert torch.equal(decoded(vae, video), whole)
        assert str(handle.last_call) == "whole: chunks of this size gave another video"
        decoded(vae, latents(4))
        assert str(handle.last_call) == "4 chunks"


def test_chunks_that_do_not_fit_the_memory_are_halved() -> None:
    vae, video = ToyAutoencoder(), latents(10)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=8) as handle:
        vae.decoder[0].most = 2
        assert error(decoded(vae, video), whole) <= 1e-12
        notes = [f"chunks of {n} did not fit the memory, so {n // 2} at a time" for n in (8, 4)]
        assert handle.last_call == skipstone.ChunkStats(5, None, tuple(notes))
        decoded(vae, video)
        assert handle.last_call == skipstone.ChunkStats(5)
        vae.decoder[0].most = 0
        with pytest.raises(torch.OutOfMemoryError, match="no room"):
            decoded(vae, video)


def test_a_stream_goes_on_with_smaller_chunks_where_the_memory_does_not_suffice() -> None:
    vae, video = ToyAutoencoder(), latents(10)
    whole = decoded(vae, video)
    stream = skipstone.stream_decode(vae, video, chunk=3)
    pieces = [next(stream)]
    vae.decoder[0].most = 2
    with pytest.warns(Notice, match="so 1 at a time"):
        pieces.extend(stream)
    assert [piece.shape[2] for piece in pieces] == [3, 1, 1, 1, 1, 1, 1, 1]
    assert error(torch.cat(pieces, dim=2), whole) <= 1e-12


def _replace_a_part(vae: Any) -> None:
    part = Causal()
    part.load_state_dict(vae.decoder[2].state_dict())
    vae.decoder[2] = part


def test_a_video_is_decoded_whole_where_a_part_was_replaced() -> None:
    vae, video = ToyAutoencoder(), latents(5)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, video), whole) <= 1e-12
        assert handle.last_call == skipstone.ChunkStats(5)
        _replace_a_part(vae)
        assert torch.equal(decoded(vae, video), whole)
        assert str(handle.last_call) == (
            "whole: 2 no longer runs in chunks: it was replaced or its hooks were removed"
        )
        with pytest.warns(Notice, match="one piece: 2 no longer runs in chunks"):
            (frames,) = skipstone.stream_decode(vae, video, 1)
        assert torch.equal(frames, whole)


@pytest.mark.parametrize("lose", [_replace_a_part, lambda vae: setattr(vae, "decoder", Causal())])
def test_a_stream_that_loses_a_part_after_its_first_frames_fails_in_one_line(
    lose: Callable[[Any], None],
) -> None:
    vae = ToyAutoencoder()
    stream = skipstone.stream_decode(vae, latents(5), 1)
    next(stream)
    lose(vae)
    with pytest.raises(RuntimeError, match="no longer runs in chunks") as lost:
        next(stream)
    assert "\n" not in str(lost.value)


def test_weights_that_are_moved_for_each_call_are_chunked() -> None:
    vae, video = made(cosmos), latents(3)
    whole = decoded(vae, video)
    _, hook = accelerate.cpu_offload_with_hook(vae, torch.device("cpu"))
    with skipstone.decode_in_chunks(vae, chunk=1):
        assert error(decoded(vae, video), whole) <= 1e-12
    hook.remove()


@pytest.mark.parametrize("make", [cosmos, ltx])
def test_weights_that_are_away_between_calls_are_chunked(make: Make) -> None:
    vae, video = made(make), latents(3)
    whole = decoded(vae, video)
    accelerate.cpu_offload(vae, torch.device("cpu"))
    assert any(weight.is_meta for weight in vae.decoder.parameters())
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, video), whole) <= within(make)
        assert handle.last_call == skipstone.ChunkStats(3)
    assert error(decoded(vae, video), whole) <= within(make)


def _in_place(vae: Any) -> None:
    vae.decoder.compile(backend="eager")


def _wrapped(vae: Any) -> None:
    vae.decoder = torch.compile(vae.decoder, backend="eager")


def _a_part(vae: Any) -> None:
    vae.decoder[0].compile(backend="eager")


@pytest.mark.parametrize("compile_it", [_in_place, _wrapped, _a_part])
def test_a_compiled_decoder_is_chunked(compile_it: Callable[[Any], None]) -> None:
    vae, video = ToyAutoencoder(), latents(3)
    whole = decoded(vae, video)
    compile_it(vae)
    decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, video), whole) <= 1e-12
        assert handle.last_call == skipstone.ChunkStats(3)
    handle.last_call = None
    assert error(decoded(vae, video), whole) <= 1e-12
    assert handle.last_call is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: diffusers.AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=2),
            "got AutoencoderKL, which cannot decode frames",
        ),
        (lambda: nn.Linear(2, 2), "got Linear"),
        (lambda: SimpleNamespace(transformer=nn.Linear(2, 2)), "got SimpleNamespace"),
    ],
    ids=["images", "no autoencoder", "a pipeline without one"],
)
def test_what_is_no_video_autoencoder_is_refused_in_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message) as refused:
        skipstone.decode_in_chunks(make())
    assert "\n" not in str(refused.value)


def test_a_second_handle_and_a_chunk_of_nothing_are_refused() -> None:
    vae = ToyAutoencoder(Late())
    with pytest.raises(ValueError, match="chunk must be"):
        skipstone.decode_in_chunks(vae, chunk=0)
    with skipstone.decode_in_chunks(vae) as handle:
        with pytest.raises(ValueError, match="runs in chunks already"):
            skipstone.decode_in_chunks(vae)
        handle.remove()
        skipstone.decode_in_chunks(vae).remove()
