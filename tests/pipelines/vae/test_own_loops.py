"""Autoencoders with chunks of their own: the same bits, but what they remember belongs to the decode."""

import threading

import pytest
import torch
from torch import Tensor

import skipstone
from support.vaes import BY_OWN_LOOP, Make, decoded, latents, made, magvit, wan

LOOPS = pytest.mark.parametrize("make", BY_OWN_LOOP.values(), ids=BY_OWN_LOOP)


@LOOPS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_decode_gives_the_same_bits_and_leaves_nothing(make: Make, dtype: torch.dtype) -> None:
    vae, videos = made(make, dtype), [latents(frames, batch=2, dtype=dtype) for frames in (1, 2, 9)]
    wanted = [decoded(vae, video) for video in videos]
    attributes = {name: set(part.__dict__) for name, part in vae.named_modules()}
    with skipstone.decode_in_chunks(vae) as handle:
        for video, whole in zip(videos, wanted, strict=True):
            assert torch.equal(decoded(vae, video), whole)
        assert handle.last_call is not None
        assert handle.last_call.chunks > 1
        assert handle.last_call.why_whole is None
    assert torch.equal(vae.decode(videos[1]).sample, wanted[1])
    assert {name: set(part.__dict__) for name, part in vae.named_modules()} == attributes


@LOOPS
def test_a_stream_gives_the_same_bits_before_the_end(make: Make) -> None:
    vae, video = made(make), latents(9)
    whole = decoded(vae, video)
    stream = skipstone.stream_decode(vae, video)
    first = next(stream)
    assert first.shape[2] < whole.shape[2]
    assert torch.equal(torch.cat([first, *stream], dim=2), whole)


@pytest.mark.parametrize("make", [wan, magvit])
def test_two_threads_are_both_right(make: Make) -> None:
    vae, videos = made(make), [latents(6), -latents(6)]
    wanted = [decoded(vae, video) for video in videos]
    found: dict[int, Tensor] = {}
    with skipstone.decode_in_chunks(vae):
        decoded(vae, videos[0])
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: decoded(vae, videos[n])})) for n in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(found[n], wanted[n]) for n in (0, 1))


@pytest.mark.parametrize("make", [wan, magvit])
def test_two_streams_that_take_turns_do_not_mix(make: Make) -> None:
    vae, videos = made(make), [latents(4), -latents(4)]
    wanted = [decoded(vae, video) for video in videos]
    pieces = list(zip(*(skipstone.stream_decode(vae, video) for video in videos), strict=True))
    assert len(pieces) == 4
    for video, whole in zip(zip(*pieces, strict=True), wanted, strict=True):
        assert torch.equal(torch.cat(video, dim=2), whole)


@pytest.mark.parametrize("make", [wan, magvit])
def test_a_failed_decode_leaves_nothing_behind(make: Make) -> None:
    vae, video = made(make), latents(3)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae):
        decoded(vae, video)
        conv = vae.decoder.conv_out
        calls: list[None] = []

        def fail(*_: object) -> None:
            calls.append(None)
            if len(calls) == 2:
                raise RuntimeError("in the middle")

        hook = conv.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            decoded(vae, video)
        hook.remove()
        assert torch.equal(decoded(vae, video), whole)
    assert torch.equal(decoded(vae, video), whole)


def test_a_second_handle_is_refused() -> None:
    vae = made(wan)
    with skipstone.decode_in_chunks(vae), pytest.raises(ValueError, match="runs in chunks already"):
        skipstone.decode_in_chunks(vae)
    skipstone.decode_in_chunks(vae).remove()
    assert "decode" not in vae.__dict__


def test_tiles_and_slices_are_those_of_the_class() -> None:
    vae, video = made(wan), latents(3, batch=2, edge=6)
    whole = decoded(vae, video)
    vae.enable_slicing()
    with skipstone.decode_in_chunks(vae) as handle:
        assert torch.equal(decoded(vae, video), whole)
        assert handle.last_call == skipstone.ChunkStats(3)
        vae.enable_tiling(16, 16, 8, 8)
        tiled = decoded(vae, video)
        assert str(handle.last_call) == "whole: tiles are decoded as written"
    assert torch.equal(decoded(vae, video), tiled)
    assert not torch.equal(tiled, whole)


def test_a_loop_that_is_no_longer_the_class_s_own_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, video = made(wan), latents(3, edge=5)
    monkeypatch.setattr(type(vae), "_decode", lambda self, z: type("Output", (), {"sample": 2 * z}))
    with skipstone.decode_in_chunks(vae) as handle:
        assert torch.equal(decoded(vae, video), 2 * video)
    assert str(handle.last_call) == "whole: chunks of this size gave another video"


def test_it_encodes_by_itself() -> None:
    vae, video = made(wan), torch.ones(1, 3, 5, 16, 16, dtype=torch.float64)
    with torch.no_grad(), skipstone.encode_in_chunks(vae) as handle:
        vae.encode(video)
    assert str(handle.last_call) == "whole: it encodes in chunks by itself"
